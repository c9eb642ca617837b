/*
 * When to ask for a token. Pure: times are milliseconds of one clock that only goes forward, `random` is in
 * [0, 1). Jitter keeps the replicas of a deployment, which start together, from asking together.
 */

/** RFC 6749 section 5.1 lets an issuer leave `expires_in` out; short is safe, it only costs requests. */
export const UNKNOWN_LIFETIME_MS = 60_000;

/** With less there would be a request to the issuer for each request to the upstream. */
export const SHORTEST_LIFETIME_MS = 1_000;

/** Nobody needs a longer one, and sums of times stay exact. */
const LONGEST_LIFETIME_MS = 24 * 3_600_000;

/** A token this near its end would be over before the upstream looks at it. */
const LONGEST_MARGIN_MS = 5_000;

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;

/** At most one token a second while the upstream refuses every fresh one. */
export const DROP_SPACING_MS = 1_000;

/**
 * Milliseconds that a token lives, from the `expires_in` (seconds) of the token answer: 0 for a token that
 * is over already, `UNKNOWN_LIFETIME_MS` where there is none or it is no number.
 */
export function lifetimeOf(expiresIn: unknown): number {
  if (typeof expiresIn !== 'number' || Number.isNaN(expiresIn)) return UNKNOWN_LIFETIME_MS;
  return Math.min(Math.max(expiresIn * 1000, 0), LONGEST_LIFETIME_MS);
}

export type TokenTimes = {
  /** Before it the upstream does not take it. */
  readonly readyAt: number;
  /** From here on a fresh one is fetched, while this one is still handed out. */
  readonly refreshAt: number;
  /** From here on it is not handed out any more. */
  readonly usableUntil: number;
  /** Here the issuer's word ends. */
  readonly endsAt: number;
};

/**
 * A token is fetched anew when 75 to 80 % of its life are over, and handed out until 95 %, or 5 s before
 * its end if that is later. Counted from the answer on this machine's clock: the issuer's clock, and so the
 * `exp` of a JWT, may be another.
 *
 * @param lag by how much the upstream's clock is behind the issuer's: there it begins and ends so much later
 */
export function timesOf(answeredAt: number, lifetime: number, random: number, lag = 0): TokenTimes {
  const readyAt = answeredAt + lag;
  return {
    readyAt,
    // Of one that is not ready none is the better for being younger.
    refreshAt: Math.max(readyAt, answeredAt + lifetime * (0.75 + 0.05 * random)),
    usableUntil: readyAt + lifetime - Math.min(lifetime * 0.05, LONGEST_MARGIN_MS),
    endsAt: readyAt + lifetime,
  };
}

/** How long to leave an issuer alone after so many failures in a row (1 or more): doubling, half of it jitter. */
export function retryDelay(failures: number, random: number): number {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 20), LONGEST_RETRY_MS);
  return longest * (0.5 + 0.5 * random);
}

/**
 * How long to leave an issuer alone whose metadata is not to be had for now, while no token is there: asking for it is
 * a light request, and costs one that is away nothing. Shorter than callers ask in vain, so that theirs is the pace.
 */
export function discoveryDelay(random: number): number {
  return FIRST_RETRY_MS * (0.8 + 0.2 * random);
}

/**
 * When the next token may be fetched after the upstream refused the current one: at once, but a second after
 * the last time that this was the reason. `previous` is what this returned then.
 */
export function nextFetchAfterDrop(now: number, previous: number | undefined): number {
  return previous === undefined ? now : Math.max(now, previous + DROP_SPACING_MS);
}
