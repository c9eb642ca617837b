import { readBoundedJson } from '../bounded-json.ts';
import { messageOf } from '../errors.ts';
import { bareUrl, quote } from '../network-words.ts';

/* What an issuer's answer means for a person. Pure. */

/** Why there is no token: `away` passes by itself, `refusal` wants a person. */
export class IssuerProblem extends Error {
  readonly kind: 'away' | 'refusal';

  constructor(kind: 'away' | 'refusal', message: string) {
    super(message);
    this.name = 'IssuerProblem';
    this.kind = kind;
  }
}

/**
 * One answer of the issuer, with nothing in it that was sent as a secret; openid-client's errors do not say where it
 * came from.
 */
export type IssuerAnswer = {
  readonly url: URL;
  readonly status: number;
  readonly contentType: string | undefined;
  readonly location: string | undefined;
  readonly body: string;
};

/** Codes that speak of the issuer's condition, not of this client (RFC 6749 section 4.1.2.1, RFC 8628 3.5). */
const PASSING_CODES = new Set(['temporarily_unavailable', 'server_error', 'slow_down']);

/** `error` is what openid-client made of the answer. */
export function explainDiscovery(answer: IssuerAnswer, error: unknown, configured: URL): IssuerProblem {
  const at = bareUrl(answer.url);
  const issuer = jsonIn(answer.body)?.['issuer'];
  if (codeOf(error) === 'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED') {
    return refusal(
      `the issuer at ${at} calls itself ${quote(String(issuer))}, the configuration says ${bareUrl(configured)}: they must be the same, to the last slash`,
    );
  }
  return (
    explainStatus(answer) ??
    refusal(
      answer.status === 200
        ? `what ${at} answers is no OpenID provider metadata (${detailOf(answer, error)}): check issuer or discovery_url`
        : `${at} answers ${answer.status}: check issuer or discovery_url`,
    )
  );
}

/** Ways to a token. */
export type GrantKind = 'client_credentials' | 'refresh_token' | 'password' | 'device_code';

/** `error` is what openid-client made of the answer. */
export function explainGrant(
  answer: IssuerAnswer,
  error: unknown,
  clientId: string,
  grant: GrantKind,
): IssuerProblem {
  const at = bareUrl(answer.url);
  const passing = explainStatus(answer);
  if (passing !== undefined) return passing;

  const json = jsonIn(answer.body);
  const code = json?.['error'];
  if (answer.status >= 400 && typeof code === 'string') {
    const description = json?.['error_description'];
    const said = typeof description === 'string' ? `${code}: ${description}` : code;
    const words = quote(said);
    return PASSING_CODES.has(code)
      ? new IssuerProblem('away', `${at} answers ${words}`)
      : refusal(`${at} refuses the client ${quote(clientId)} (${words}); ${remedyFor(code, said, grant)}`);
  }
  return refusal(
    answer.status === 200
      ? `the answer of ${at} is no token answer (${detailOf(answer, error)})`
      : `${at} answers ${answer.status} without an OAuth error: is it the issuer that answers there, and not a proxy?`,
  );
}

/** What a status says whatever was asked. */
function explainStatus({ url, status, location }: IssuerAnswer): IssuerProblem | undefined {
  const at = bareUrl(url);
  if (status >= 500 || status === 429 || status === 408) {
    return new IssuerProblem('away', `${at} answers ${status}`);
  }
  if (status < 300 || status >= 400) return undefined;
  const to = location !== undefined && URL.canParse(location, url.href) ? new URL(location, url) : undefined;
  return refusal(
    `${at} redirects${to === undefined ? '' : ` to ${bareUrl(to)}`} (${status}): configure the issuer by its final address`,
  );
}

/** What Keycloak calls it in the settings of a client. */
const ALLOWED_AS: Readonly<Record<GrantKind, string>> = {
  client_credentials: 'service accounts',
  refresh_token: 'use refresh tokens',
  password: 'direct access grants',
  device_code: 'OAuth 2.0 device authorization grant',
};

/** RFC 6749 section 5.2, RFC 8628 section 3.5, RFC 8707 section 2. */
function remedyFor(code: string, said: string, grant: GrantKind): string {
  // Keycloak calls a client with a wrong secret unauthorized, and says "Invalid client credentials".
  if (
    code === 'invalid_client' ||
    (code === 'unauthorized_client' && /invalid client credentials/i.test(said))
  ) {
    return 'check client_id and client_secret_file, and that the client is enabled at the issuer';
  }
  // oidc-provider calls that an invalid request.
  const isGrant = code === 'invalid_request' && /\bgrant type\b.*\bnot (allowed|supported)\b/i.test(said);
  switch (isGrant ? 'unauthorized_client' : code) {
    case 'unauthorized_client':
    case 'unsupported_grant_type':
      return `allow it the ${grant} grant at the issuer (Keycloak: ${ALLOWED_AS[grant]})`;
    case 'invalid_grant':
      if (grant === 'client_credentials') break;
      return grant === 'password'
        ? 'check user name and password, and that the account is enabled'
        : 'it has ended or was used up: log in again';
    case 'access_denied':
      if (grant === 'client_credentials') break;
      return 'whoever was asked has not allowed it';
    case 'expired_token':
      return 'nobody has allowed it in time: run the command again';
    case 'invalid_scope':
      return 'check scope, and the scopes that the client has at the issuer';
    case 'invalid_target':
      return 'check resource and audience';
  }
  return 'check the client at the issuer, and scope, audience and resource';
}

function detailOf({ contentType }: IssuerAnswer, error: unknown): string {
  // openid-client's own messages are general, the cause tells the property.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return `${quote(contentType ?? 'no content type')}: ${quote(messageOf(cause))}`;
}

function refusal(words: string): IssuerProblem {
  return new IssuerProblem('refusal', words);
}

function jsonIn(body: string): Record<string, unknown> | undefined {
  const json = readBoundedJson(Buffer.from(body));
  return json.kind === 'value' && typeof json.value === 'object' && json.value !== null
    ? (json.value as Record<string, unknown>)
    : undefined;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
