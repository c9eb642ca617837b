import { readBoundedJson } from '../bounded-json.ts';
import { quote } from '../network-words.ts';
import type { TokenClaims } from './token-source.ts';

/* What can be read in an access token. Pure. */

/** No issuer writes more. */
const LONGEST_TOKEN = 256 * 1024;

/** Nobody reads more groups than these in a log line. */
const MOST_SHOWN = 20;

/** Undefined for a token that is no signed JWT (RFC 7515 section 3.1): an opaque or encrypted one tells nothing. */
export function readClaims(token: string): TokenClaims | undefined {
  if (token.length > LONGEST_TOKEN) return undefined;
  const parts = token.split('.', 4);
  const json = parts.length === 3 ? jsonIn(parts[1] ?? '') : undefined;
  if (json === undefined) return undefined;
  const { iss, azp, client_id: client, aud, groups, email, preferred_username: preferred } = json;
  const begins = [json['iat'], json['nbf']].filter((time) => typeof time === 'number');
  return {
    issuer: textIn(iss),
    // RFC 9068 section 2.2; OpenID Connect Core section 2, as Keycloak has it.
    client: textIn(client) ?? textIn(azp),
    ...(begins.length > 0 && { validFrom: Math.max(...begins) }),
    ...(typeof json['exp'] === 'number' && { expiresAt: json['exp'] }),
    audience: textsIn(aud) ?? [],
    groups: textsIn(groups),
    username: textIn(email) ?? textIn(preferred),
  };
}

/**
 * The same claims by an unsecured JWT (RFC 7519 section 6), which nobody should take; undefined for a token that is no
 * signed one.
 */
export function withoutSignature(token: string): string | undefined {
  const [header = '', payload] = token.split('.', 2);
  const json = readClaims(token) === undefined ? undefined : jsonIn(header);
  if (json === undefined) return undefined;
  // It may name the key, without which some take nothing.
  const unsecured = Buffer.from(JSON.stringify({ ...json, alg: 'none' })).toString('base64url');
  return `${unsecured}.${payload}.`;
}

function jsonIn(base64url: string): Record<string, unknown> | undefined {
  const json = readBoundedJson(Buffer.from(base64url, 'base64url'));
  return json.kind === 'value' &&
    typeof json.value === 'object' &&
    json.value !== null &&
    !Array.isArray(json.value)
    ? (json.value as Record<string, unknown>)
    : undefined;
}

/** RFC 7519 section 4.1.3 lets one value stand without its list. */
function textsIn(value: unknown): string[] | undefined {
  if (!Array.isArray(value)) {
    const text = textIn(value);
    return text === undefined ? undefined : [text];
  }
  const texts = value.map(textIn).filter((text) => text !== undefined);
  const left = texts.length - MOST_SHOWN;
  return left > 0 ? [...texts.slice(0, MOST_SHOWN), `… and ${left} more`] : texts;
}

function textIn(value: unknown): string | undefined {
  const text = typeof value === 'string' ? quote(value) : '';
  return text === '' ? undefined : text;
}
