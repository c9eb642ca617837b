import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { readClaims } from '../auth/token-claims.ts';
import type { TokenClaims } from '../auth/token-source.ts';
import { lacksOf } from '../destinations/token-words.ts';
import { RelayError } from '../errors.ts';
import { quote } from '../network-words.ts';
import { withDestination } from './destination-option.ts';
import { print } from './print.ts';
import { safeJson } from './safe-json.ts';
import { tokenWish, withTokenOptions } from './token-options.ts';
import type { TokenFlags, TokenWish } from './token-options.ts';

/** What a token says of itself, and what MLflow will make of it. Never the token. */
export function tokenInspectCommand(): Command {
  const command = new Command('inspect')
    .summary('show what an access token says, and what MLflow makes of it')
    .description(
      'show what an access token says: claims, expiry, audience, groups, and the user name that MLflow will take; its signature is not checked',
    );
  withTokenOptions(command)
    .option('--stdin', 'a token from standard input in place of one for the destination')
    .option('--json', 'one JSON object');
  return withDestination(command, async (chosen) => {
    const flags = command.opts<TokenFlags & { stdin?: boolean; json?: boolean }>();
    const token =
      flags.stdin === true ? readFileSync(0, 'utf8').trim() : await tokenOf(tokenWish(chosen, flags));
    if (token === '')
      throw new RelayError(
        'USAGE',
        'there is nothing on standard input: send a token there, or leave --stdin out',
      );
    const claims = readClaims(token);
    if (claims === undefined) {
      throw new RelayError(
        flags.stdin === true ? 'USAGE' : 'NO_TOKEN',
        'this is no signed JWT (RFC 7515): an opaque token tells nothing, and mlflow-oidc-auth takes none',
      );
    }
    const lacks = Object.values(lacksOf(claims)).map(({ what, remedy }) => `${what}: ${remedy}`);
    const { validFrom: valid_from, expiresAt: expires_at, ...rest } = claims;
    await print(
      flags.json === true
        ? `${safeJson({ ...rest, valid_from, expires_at, lacks })}\n`
        : inWords({ ...claims, lacks }, Date.now()),
    );
  }).addHelpText(
    'after',
    `
Examples:
  mlflow-trace-relay token inspect --config relay.yaml
  echo "$MLFLOW_TRACKING_TOKEN" | mlflow-trace-relay token inspect --config relay.yaml --stdin`,
  );
}

async function tokenOf(wish: TokenWish): Promise<string> {
  const { wantedToken } = await import('./wanted-token.ts');
  return (await wantedToken(wish)).accessToken;
}

function inWords(claims: TokenClaims & { readonly lacks: readonly string[] }, now: number): string {
  const { issuer, client, username, audience, groups, validFrom, expiresAt, lacks } = claims;
  const lines: [string, string | undefined][] = [
    ['user name for MLflow', username],
    ['client', client],
    ['issuer', issuer],
    ['audience', audience.join(', ')],
    ['groups', groups?.join(', ')],
    ['valid from', validFrom === undefined ? undefined : inTime(validFrom * 1000, now)],
    ['expires', expiresAt === undefined ? undefined : inTime(expiresAt * 1000, now)],
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  const shown = lines.map(
    ([name, value]) => `${name.padEnd(width)}  ${value === undefined || value === '' ? '-' : quote(value)}`,
  );
  return [...shown, ...lacks.map((lack) => `missing: ${lack}`)].map((line) => `${line}\n`).join('');
}

function inTime(at: number, now: number): string {
  const seconds = Math.round(Math.abs(at - now) / 1000);
  return `${new Date(at).toISOString()} (${at > now ? `in ${seconds} s` : `${seconds} s ago`})`;
}
