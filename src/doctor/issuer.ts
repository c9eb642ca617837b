import type { ServerMetadata } from 'openid-client';
import { byClientCredentials } from '../auth/grants.ts';
import type { IssuerClient, IssuerOptions } from '../auth/issuer-client.ts';
import { IssuerProblem } from '../auth/issuer-words.ts';
import { SHORTEST_LIFETIME_MS, lifetimeOf } from '../auth/schedule.ts';
import { readClaims } from '../auth/token-claims.ts';
import type { TokenClaims } from '../auth/token-source.ts';
import { createHttpClient } from '../destinations/http-client.ts';
import { messageOf } from '../errors.ts';
import { NEVER_ABORTS } from '../never-aborts.ts';
import { bareUrl, quote } from '../network-words.ts';
import type { Logger } from '../telemetry/logger.ts';
import { failed, ok, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';
import { readingOfDate, readingOfSeconds } from './clocks.ts';
import type { Reading } from './clocks.ts';
import { wayFix } from './way.ts';

/* The issuer, asked by the relay's own client. */

/** A token that ends sooner costs a request to the issuer every few seconds. */
const SHORT_MS = 30_000;
/** Of a token's life, that is left when the relay asks for the next one at the latest (auth/schedule.ts). */
const LEFT_AT_REFRESH = 0.2;

/** A token, and what is known of it. */
export type Granted = {
  readonly value: string;
  readonly expiresIn: unknown;
  readonly lifetimeMs: number;
  /** Undefined of a token that is no JWT. */
  readonly claims: TokenClaims | undefined;
  /** Of the issuer's clock, by the token. */
  readonly issuedAt: Reading | undefined;
};

/** Where its metadata is (OpenID Connect Discovery 1.0 section 4). */
export function metadataUrlOf({ issuer, discoveryUrl }: IssuerOptions): URL {
  return new URL(discoveryUrl ?? `${(issuer ?? '').replace(/\/$/, '')}/.well-known/openid-configuration`);
}

/** @param keys below which those of the issuer stand, as in `destinations.mlflow.auth` */
export async function checkDiscovery(
  client: IssuerClient,
  options: IssuerOptions,
  keys: string,
): Promise<Verdict<ServerMetadata>> {
  const url = metadataUrlOf(options);
  const key = `${keys}.${options.discoveryUrl === undefined ? 'issuer' : 'discovery_url'}`;
  try {
    const metadata = await client.discover(NEVER_ABORTS);
    return ok(
      `${quote(metadata.issuer)} has the token endpoint ${quote(metadata.token_endpoint ?? '')}`,
      metadata,
    );
  } catch (error) {
    return failed(
      messageOf(error),
      isAway(error)
        ? wayFix(messageOf(error), url, { url: key, caFile: `${keys}.ca_file` })
        : `${wrongRealm(url, messageOf(error))}open ${bareUrl(url)}: it must be the issuer's metadata, and ${key} what it says of itself, to the last slash`,
    );
  }
}

/** Keycloak answers 404 to a realm that it does not have, by that name. */
function wrongRealm({ pathname }: URL, reason: string): string {
  const [, realm] = /\/realms\/([^/]+)\//.exec(pathname) ?? [];
  return realm === undefined || !/ answers 404/.test(reason)
    ? ''
    : `use a realm that exists (Keycloak has none called ${quote(realm)}: see its name in the admin console, names are case-sensitive); `;
}

export async function checkClient(
  client: IssuerClient,
  metadata: ServerMetadata,
  secret: string,
  { clientId }: IssuerOptions,
  keys: string,
): Promise<Verdict<Granted>> {
  const askedAt = Date.now();
  try {
    const { value, expiresIn } = await byClientCredentials(client, {
      metadata,
      secret,
      signal: NEVER_ABORTS,
    });
    const claims = readClaims(value);
    const issuedAt = readingOfSeconds(claims?.validFrom, askedAt, Date.now());
    return ok(`the issuer gives ${clientId} a token`, {
      value,
      expiresIn,
      lifetimeMs: lifetimeOf(expiresIn),
      claims,
      issuedAt,
    });
  } catch (error) {
    const message = messageOf(error);
    if (isAway(error)) {
      const url = new URL(metadata.token_endpoint ?? metadata.issuer);
      return failed(message, wayFix(message, url, { url: `${keys}.issuer`, caFile: `${keys}.ca_file` }));
    }
    // The relay's words end with what to do, where it is known.
    const at = message.lastIndexOf('; ');
    return at === -1
      ? failed(message, `look at the client ${clientId} at the issuer, and at its log`)
      : failed(message.slice(0, at), message.slice(at + 2));
  }
}

/** @param timeoutMs of a request to the issuer */
export function checkLifetime({ expiresIn, lifetimeMs }: Granted, timeoutMs: number): Verdict<undefined> {
  const longer =
    'let access tokens of this client live for five minutes at the issuer (Keycloak: Access Token Lifespan)';
  const lives = `tokens live ${lifetimeMs / 1000} s`;
  if (lifetimeMs < SHORTEST_LIFETIME_MS)
    return failed(`${lives}, which is over before they can be used`, longer);
  if (typeof expiresIn !== 'number') {
    return warning(
      `the issuer does not say how long tokens live (expires_in); the relay fetches one each ${lifetimeMs / 1000} s`,
      'have the issuer say it',
    );
  }
  if (lifetimeMs < SHORT_MS)
    return warning(`${lives}: the relay asks the issuer for one all the time`, longer);
  const left = lifetimeMs * LEFT_AT_REFRESH;
  return left < timeoutMs
    ? warning(
        `${lives}: the next is fetched with ${left / 1000} s left, and an answer of the issuer may take ${timeoutMs / 1000} s (auth.timeout)`,
        longer,
      )
    : ok(`${lives}, and the next is fetched with ${left / 1000} s left or more`);
}

/** Of the clock of what answers at the issuer's address. */
export async function readIssuerClock(
  options: IssuerOptions,
  name: string,
  log: Logger,
): Promise<Reading | undefined> {
  const { caFile, timeoutMs } = options;
  const tls = caFile === undefined ? {} : { caFile };
  const http = createHttpClient({ name, tls, timeoutMs, maxResponseSize: 1024 * 1024 }, log);
  try {
    const askedAt = Date.now();
    const answer = await http.ask(
      { method: 'GET', url: metadataUrlOf(options), headers: { accept: 'application/json' } },
      NEVER_ABORTS,
    );
    return answer.kind === 'answer' ? readingOfDate(answer.date, askedAt, Date.now()) : undefined;
  } finally {
    await http.close();
  }
}

function isAway(error: unknown): boolean {
  return error instanceof IssuerProblem && error.kind === 'away';
}
