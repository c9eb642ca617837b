import type { ServerMetadata } from 'openid-client';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { byClientCredentials } from './grants.ts';
import { createIssuerClient } from './issuer-client.ts';
import type { IssuerOptions } from './issuer-client.ts';
import { IssuerProblem } from './issuer-words.ts';
import {
  SHORTEST_LIFETIME_MS,
  discoveryDelay,
  lifetimeOf,
  nextFetchAfterDrop,
  retryDelay,
  timesOf,
} from './schedule.ts';
import type { TokenTimes } from './schedule.ts';
import { readClaims } from './token-claims.ts';
import type { TokenClaims, TokenResult, TokenSource } from './token-source.ts';

export type ClientCredentialsOptions = IssuerOptions & {
  /** Whose token it is, for logs and metrics. */
  readonly destination: string;
  /** Asked at every fetch, so that a rotated secret counts; rejects with words for a person. */
  readonly clientSecret: () => Promise<string>;
};

/** Endpoints move seldom; an issuer whose token endpoint fails is looked up again at once. */
const DISCOVERY_AGE_MS = 3_600_000;

/** The same failure is said again after this long, so that a log read late tells what is wrong now. */
const REPEAT_LOG_MS = 60_000;

/** A token while it is known, and what its times come from. */
type Held = {
  readonly token: Success;
  readonly times: TokenTimes;
  readonly answeredAt: number;
  readonly lifetime: number;
};

type Success = Extract<TokenResult, { kind: 'token' }>;
type Failure = Exclude<TokenResult, Success>;

/**
 * Tokens by the client credentials grant (RFC 6749 section 4.4) of an OpenID provider or an OAuth 2.0 server
 * with metadata. Without work for it, it asks nothing: a token is fetched when one is wanted, and anew, in
 * the background, when one is wanted and most of its lifetime is over. A token that is still good is handed
 * out however the issuer is.
 */
export function createClientCredentials(
  options: ClientCredentialsOptions,
  deps: { log: Logger; metrics: Metrics },
): TokenSource {
  const { metrics } = deps;
  const log = deps.log.child({ destination: options.destination });
  const issuer = createIssuerClient(options);
  const closing = new AbortController();

  let current: Held | undefined;
  /** The one before, which is used until the current one is ready. */
  let previous: Held | undefined;
  /** By how much the upstream's clock is behind the issuer's, as its answers have shown; ms. */
  let lag = 0;
  let metadata: { value: ServerMetadata; foundAt: number } | undefined;
  let fetching: Promise<TokenResult> | undefined;
  let failure: (Failure & { readonly secret: string | undefined }) | undefined;
  let failures = 0;
  let nextFetchAt = 0;
  let fetchAllowedByDropAt: number | undefined;
  /** The value of a token that the upstream may not take. */
  let doubted: string | undefined;
  let logged: { reason: string; at: number } | undefined;
  let everHadToken = false;

  async function token(): Promise<TokenResult> {
    const isDoubted = doubted !== undefined && current?.token.value === doubted;
    if (isDoubted && (fetching !== undefined || clock() >= nextFetchAt)) await fetchOnce();
    const now = clock();
    if (current !== undefined && now < current.times.usableUntil) {
      if (now >= current.times.refreshAt && now >= nextFetchAt) void fetchOnce();
      if (now >= current.times.readyAt) return current.token;
      if (previous !== undefined && now < previous.times.usableUntil) return previous.token;
      return {
        kind: 'unavailable',
        reason: `the clock of the upstream is ${Math.ceil(lag / 1000)} s behind that of the issuer, whose tokens it takes so much later: set the clocks`,
      };
    }
    if (fetching !== undefined || now >= nextFetchAt) return await fetchOnce();
    if (await secretChanged()) return await token();
    return failure === undefined
      ? { kind: 'unavailable', reason: 'the upstream refuses fresh tokens: one a second is fetched' }
      : { kind: failure.kind, reason: failure.reason };
  }

  function fetchOnce(): Promise<TokenResult> {
    fetching ??= fetchAndRemember().finally(() => {
      fetching = undefined;
      // Another token is there, or this one, which may be good, is all there is.
      doubted = undefined;
    });
    return fetching;
  }

  /** Never rejects: what goes wrong is a result. */
  async function fetchAndRemember(): Promise<TokenResult> {
    let secret: string | undefined;
    try {
      secret = await readSecret();
      metadata ??= { value: await issuer.discover(closing.signal), foundAt: clock() };
      const asking = { metadata: metadata.value, secret, signal: closing.signal };
      const grant = await byClientCredentials(issuer, asking);
      const answeredAt = clock();
      if (answeredAt - metadata.foundAt > DISCOVERY_AGE_MS) metadata = undefined;
      const lifetime = lifetimeOf(grant.expiresIn);
      if (lifetime < SHORTEST_LIFETIME_MS) {
        throw new IssuerProblem('refusal', 'the issuer gives tokens that end within a second (expires_in)');
      }
      const claims = readClaims(grant.value);
      const fresh: Success = { kind: 'token', value: grant.value, ...(claims && { claims }) };
      previous = current;
      current = held(fresh, answeredAt, lifetime);
      succeeded(lifetime, claims);
      return fresh;
    } catch (error) {
      const wasFound = metadata !== undefined;
      // The endpoint may have moved, whatever it was that failed: looking it up again costs one request.
      metadata = undefined;
      return failed(error, secret, wasFound);
    }
  }

  function held(fresh: Success, answeredAt: number, lifetime: number): Held {
    return {
      token: fresh,
      answeredAt,
      lifetime,
      times: timesOf(answeredAt, lifetime, Math.random(), lag),
    };
  }

  function succeeded(lifetime: number, claims: TokenClaims | undefined): void {
    metrics.tokenRequests.inc({ destination: options.destination, result: 'token' });
    failures = 0;
    failure = undefined;
    nextFetchAt = 0;
    if (!everHadToken || logged !== undefined) {
      const words = everHadToken ? 'access tokens come again' : 'first access token';
      log.info(
        {
          issuer: options.issuer ?? options.discoveryUrl,
          clientId: options.clientId,
          lifetimeSeconds: lifetime / 1000,
          ...(claims && {
            username: claims.username,
            audience: claims.audience,
            groups: claims.groups,
          }),
        },
        words,
      );
    }
    everHadToken = true;
    logged = undefined;
  }

  /** @param wasFound the issuer's metadata was there */
  function failed(error: unknown, secret: string | undefined, wasFound: boolean): Failure {
    const away = error instanceof IssuerProblem && error.kind === 'away';
    const result: Failure = {
      kind: away ? 'unavailable' : 'rejected',
      reason: `no access token: ${messageOf(error)}`,
    };
    metrics.tokenRequests.inc({ destination: options.destination, result: result.kind });
    failures += 1;
    failure = { ...result, secret };
    const now = clock();
    const isWanted = current === undefined || now >= current.times.usableUntil;
    const delay =
      away && !wasFound && isWanted ? discoveryDelay : (random: number) => retryDelay(failures, random);
    nextFetchAt = now + delay(Math.random());
    if (!closing.signal.aborted && (logged?.reason !== result.reason || now - logged.at >= REPEAT_LOG_MS)) {
      log[away ? 'warn' : 'error']({ tokenStillValid: expiresAt() !== undefined }, result.reason);
      logged = { reason: result.reason, at: now };
    }
    return result;
  }

  async function readSecret(): Promise<string> {
    const secret = await options.clientSecret();
    if (secret === '')
      throw new IssuerProblem('refusal', 'the client secret is empty: check client_secret_file');
    return secret;
  }

  /** A person who corrected the secret shall not wait for the cool-down, which this ends. */
  async function secretChanged(): Promise<boolean> {
    const seen = failure;
    if (seen?.kind !== 'rejected') return false;
    const secret = await options.clientSecret().catch(() => seen.secret);
    if (secret === seen.secret) return false;
    if (failure === seen) nextFetchAt = 0;
    return true;
  }

  function drop(value: string): void {
    const isPrevious = previous?.token.value === value;
    if (!isPrevious && current?.token.value !== value) return;
    // A clock may have been set since: how far they are apart is found out anew.
    lag = 0;
    previous = undefined;
    if (isPrevious) {
      if (current !== undefined) current = held(current.token, current.answeredAt, current.lifetime);
      return;
    }
    current = undefined;
    nextFetchAt = nextFetchAfterDrop(clock(), fetchAllowedByDropAt);
    fetchAllowedByDropAt = nextFetchAt;
  }

  function doubt(value: string): void {
    if (current?.token.value !== value || doubted === value) return;
    doubted = value;
    fetchAllowedByDropAt = nextFetchAfterDrop(clock(), fetchAllowedByDropAt);
    // An issuer that fails is left alone as long as without it.
    nextFetchAt = Math.max(nextFetchAt, fetchAllowedByDropAt);
  }

  function postpone(value: string, ms: number): void {
    const now = clock();
    // Of requests that were under way together the first has said it.
    if (current?.token.value !== value || now < current.times.readyAt) return;
    lag = now + ms - current.answeredAt;
    current = held(current.token, current.answeredAt, current.lifetime);
    log.warn(
      { lagSeconds: Math.ceil(lag / 1000) },
      'the clock of the upstream is behind that of the issuer, whose tokens it takes only later: set the clocks',
    );
  }

  function expiresAt(): number | undefined {
    if (current === undefined) return undefined;
    const left = current.times.endsAt - clock();
    return left > 0 ? Math.round(Date.now() + left) : undefined;
  }

  return {
    token,
    drop,
    doubt,
    postpone,
    expiresAt,
    async close() {
      closing.abort();
      await fetching;
    },
  };
}

/** Milliseconds on a clock that nobody sets: a corrected system time must not end or lengthen a token's life. */
function clock(): number {
  return performance.now();
}
