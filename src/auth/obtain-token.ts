import { messageOf } from '../errors.ts';
import { byClientCredentials, byDeviceCode, byPassword, byRefreshToken } from './grants.ts';
import type { DeviceLogin, Grant } from './grants.ts';
import { createIssuerClient } from './issuer-client.ts';
import type { Asking, IssuerClient, IssuerOptions } from './issuer-client.ts';
import { IssuerProblem } from './issuer-words.ts';
import { lifetimeOf } from './schedule.ts';
import { TOKEN_IN_USE } from './token-cache.ts';
import type { KeptToken, TokenCache } from './token-cache.ts';

/** How to come to a token where none is kept. */
export type GrantRequest =
  | { readonly kind: 'client_credentials' }
  | { readonly kind: 'device_code' }
  | { readonly kind: 'refresh_token'; readonly refreshToken: string }
  | { readonly kind: 'password'; readonly username: string; readonly password: string };

export type ObtainOptions = {
  readonly issuer: IssuerOptions;
  /** Asked when it is needed; undefined for a public client. */
  readonly secret: (() => Promise<string>) | undefined;
  readonly kind: GrantRequest['kind'];
  /** Of that kind. Asked when it is needed: of a kept token nothing else is. */
  readonly grant: () => GrantRequest;
};

export type ObtainDeps = {
  /** Undefined to keep nothing. */
  readonly cache: TokenCache | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** What a person has to do for it. */
  readonly tell: (login: DeviceLogin) => void;
  /** What went wrong without standing in the way. */
  readonly warn: (words: string) => void;
  readonly signal: AbortSignal;
};

/** A kept token is not handed out any more when this share of its life is left. */
const LEFT_AT_LEAST = 0.25;

/**
 * A token that is good for a while: the one that is kept, or else a new one, by the refresh token that came with the
 * kept one if there is one. While the issuer is away, or another command is at it, a kept one that is still valid will do.
 * @throws IssuerProblem
 */
export async function obtainToken(options: ObtainOptions, deps: ObtainDeps): Promise<KeptToken> {
  const { cache, now, warn } = deps;
  const kept = await cache?.read();
  if (kept !== undefined && leftOf(kept, now()) >= LEFT_AT_LEAST) return kept;
  // What can be asked for any number of times is not waited for.
  const takesTurns = options.kind !== 'client_credentials' || kept?.refreshToken !== undefined;
  if (cache === undefined || !takesTurns) return await freshToken(options, deps, kept);
  return await cache.alone(
    async () => {
      // Another process may have fetched one meanwhile.
      const latest = await cache.read();
      if (latest !== undefined && leftOf(latest, now()) >= LEFT_AT_LEAST) return latest;
      return await freshToken(options, deps, latest);
    },
    () => warn(TOKEN_IN_USE),
    isValid(kept, now())
      ? () => {
          warn('the kept token is used, which ends soon: another command is renewing or revoking it');
          return kept;
        }
      : undefined,
  );
}

function isValid(kept: KeptToken | undefined, at: number): kept is KeptToken {
  return kept !== undefined && leftOf(kept, at) > 0;
}

/** The share of its life that is left: above 0 while it is valid. A clock that was set back makes it look younger than new. */
function leftOf({ obtainedAt, expiresAt }: KeptToken, at: number): number {
  return at < obtainedAt ? 0 : (expiresAt - at) / (expiresAt - obtainedAt);
}

async function freshToken(
  options: ObtainOptions,
  deps: ObtainDeps,
  kept: KeptToken | undefined,
): Promise<KeptToken> {
  const { cache, now, warn, signal } = deps;
  try {
    const client = createIssuerClient(options.issuer);
    const metadata = await client.discover(signal);
    const asking = { metadata, secret: await options.secret?.(), signal };
    const grant =
      (await refreshed(client, asking, kept?.refreshToken)) ?? (await asked(client, asking, options, deps));
    const obtainedAt = now();
    // A refresh token that is not replaced stays good (RFC 6749 section 6).
    const refreshToken = grant.refreshToken ?? kept?.refreshToken;
    const token = {
      accessToken: grant.value,
      obtainedAt,
      expiresAt: obtainedAt + lifetimeOf(grant.expiresIn),
      ...(refreshToken !== undefined && { refreshToken }),
    };
    await cache?.write(token).catch((error: unknown) => {
      warn(`the token is not kept for the next command: ${messageOf(error)}`);
    });
    return token;
  } catch (error) {
    if (!isValid(kept, now()) || !(error instanceof IssuerProblem) || error.kind !== 'away') throw error;
    warn(`the kept token is used, which ends soon: ${error.message}`);
    return kept;
  }
}

/** Undefined where that is not, or no longer, the way. */
async function refreshed(
  client: IssuerClient,
  asking: Asking,
  refreshToken: string | undefined,
): Promise<Grant | undefined> {
  if (refreshToken === undefined) return undefined;
  try {
    return await byRefreshToken(client, asking, refreshToken);
  } catch (error) {
    if (error instanceof IssuerProblem && error.kind === 'refusal') return undefined;
    throw error;
  }
}

function asked(
  client: IssuerClient,
  asking: Asking,
  options: ObtainOptions,
  { tell }: ObtainDeps,
): Promise<Grant> {
  const grant = options.grant();
  switch (grant.kind) {
    case 'client_credentials':
      return byClientCredentials(client, asking);
    case 'device_code':
      return byDeviceCode(client, asking, tell);
    case 'refresh_token':
      return byRefreshToken(client, asking, grant.refreshToken);
    case 'password':
      return byPassword(client, asking, grant);
  }
}
