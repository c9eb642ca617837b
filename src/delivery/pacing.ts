export type PacingOptions = {
  /** Most requests at once. */
  readonly maxInFlight: number;
  /** Whether the upstream can be asked if it is back, without sending it anything. */
  readonly canProbe: boolean;
  /** Values in [0, 1), for jitter. */
  readonly random: () => number;
};

/** The upstream takes requests; or does not for now; or cannot before a person has acted. */
export type UpstreamCondition = 'up' | 'retrying' | 'blocked';

/** A request that was begun; to be handed back once, with its outcome. */
export type Ticket = { readonly epoch: number };

/** Enough to keep an upstream busy while an answer travels, and few enough to harm none. */
const FIRST_LIMIT = 2;
const BACKOFF = {
  retrying: { baseMs: 500, capMs: 30_000 },
  blocked: { baseMs: 2_000, capMs: 60_000 },
} as const;
/** A `Retry-After` beyond this is taken for a mistake. */
const LONGEST_AFTER_MS = 3_600_000;
/** From one probe to the next, with jitter: with the answer's time still within a second. */
const PROBE_EVERY = { leastMs: 600, mostMs: 900 };

/**
 * How long to wait after the `failures`th failure in a row, in ms: doubled each time up to the cap, of which a random
 * half to whole, so that relays that failed together do not come back together.
 */
export function backoff(failures: number, condition: 'retrying' | 'blocked', random: () => number): number {
  const { baseMs, capMs } = BACKOFF[condition];
  return Math.min(capMs, baseMs * 2 ** (failures - 1)) * (0.5 + random() / 2);
}

/** As `backoff`, and at least `after`: what the upstream asked for (`Retry-After`), in ms, within reason. */
export function pauseAfter(
  failures: number,
  condition: 'retrying' | 'blocked',
  after: number,
  random: () => number,
): number {
  return Math.max(Math.min(after, LONGEST_AFTER_MS), backoff(failures, condition, random));
}

/**
 * How many requests may be under way, and when. Additive increase while more waits than goes, halved on failure.
 * After a failure one request is the trial, after a pause; when it succeeds the others go on at the lowered limit,
 * which grows from there: no stampede.
 *
 * Pauses grow to half a minute. That a `retrying` upstream is back is noticed sooner, by probes: requests that carry
 * nothing, about one a second. One that is answered after others were not ends the pause. One that is answered
 * throughout tells only that the upstream is there, though it does not take batches: then the pause is what spares it.
 * Before a `Retry-After` is over there is neither trial nor probe.
 *
 * Requests that were under way together fail together: only the first of them is counted, and what the others bring
 * later says nothing about the upstream of now. Times are ms of one clock that never goes back.
 */
export class Pacing {
  readonly #options: PacingOptions;
  #condition: UpstreamCondition = 'up';
  #limit: number;
  #inFlight = 0;
  #trial: Ticket | undefined;
  /** Since the last success. */
  readonly #failures = { retrying: 0, blocked: 0 };
  #failedAt = 0;
  #resumesAt = 0;
  /** The end of what the upstream asked for. */
  #notBefore = 0;
  /** Grows with each failure that counts, and each return. */
  #epoch = 0;
  #isProbing = false;
  #probesAt = 0;
  /** Not there at all, by the last that was heard of it. */
  #isAway = false;
  /** How often it was back since the last success. */
  #returns = 0;

  constructor(options: PacingOptions) {
    this.#options = options;
    this.#limit = Math.min(FIRST_LIMIT, options.maxInFlight);
  }

  get condition(): UpstreamCondition {
    return this.#condition;
  }

  /** No request is under way. */
  get isIdle(): boolean {
    return this.#inFlight === 0;
  }

  /** How many requests may begin at `now`. */
  slots(now: number): number {
    if (this.#condition === 'up') return Math.max(0, Math.floor(this.#limit) - this.#inFlight);
    const isBusy = this.#trial !== undefined || this.#isProbing;
    return !isBusy && now >= this.#resumesAt && this.#inFlight < this.#options.maxInFlight ? 1 : 0;
  }

  /** When there are slots again by waiting alone; undefined if there is nothing to wait for. */
  resumesAt(): number | undefined {
    return this.#condition === 'up' || this.#trial !== undefined ? undefined : this.#resumesAt;
  }

  /** When a probe may begin; undefined if none is of use, or one is under way. */
  probesAt(): number | undefined {
    return this.#condition === 'retrying' && this.#options.canProbe && !this.#isProbing
      ? Math.max(this.#probesAt, this.#notBefore)
      : undefined;
  }

  begin(now: number): Ticket {
    const ticket = { epoch: this.#epoch };
    this.#inFlight++;
    if (this.#condition !== 'up') {
      this.#trial = ticket;
      // The trial tells more than a probe, unless its answer does not come.
      this.#probeAfter(now);
    }
    return ticket;
  }

  /**
   * The upstream took the request, or refused these bytes: it is there.
   *
   * @param moreWaits there is work for another request: raise the limit
   */
  answered(ticket: Ticket, moreWaits: boolean): void {
    this.#end(ticket);
    if (ticket.epoch !== this.#epoch) return;
    this.#condition = 'up';
    this.#failures.retrying = 0;
    this.#failures.blocked = 0;
    this.#notBefore = 0;
    this.#isAway = false;
    this.#returns = 0;
    if (moreWaits || this.#limit < FIRST_LIMIT) {
      // By one a round of requests, not by one a request.
      this.#limit = Math.min(this.#options.maxInFlight, this.#limit + 1 / Math.floor(this.#limit));
    }
  }

  /** @param after least pause that the upstream asked for, in ms; 0 without */
  failed(ticket: Ticket, condition: 'retrying' | 'blocked', now: number, after: number): void {
    this.#end(ticket);
    if (ticket.epoch === this.#epoch) this.#fall(condition, now, after);
    else if (this.#condition !== 'up') this.#wait(now, after);
  }

  beginProbe(now: number): void {
    this.#isProbing = true;
    this.#probeAfter(now);
  }

  /** It is there. */
  probeAnswered(now: number): void {
    this.#isProbing = false;
    if (this.#condition !== 'retrying' || !this.#isAway) return;
    this.#isAway = false;
    // What was under way before the return may hang for long, and tells nothing of the upstream of now.
    this.#trial = undefined;
    this.#epoch++;
    // One that comes and goes and takes nothing in between is spared too.
    this.#returns++;
    const spared = this.#failedAt + backoff(this.#returns, 'retrying', this.#options.random);
    this.#resumesAt = Math.max(this.#notBefore, Math.min(this.#resumesAt, Math.max(now, spared)));
  }

  /** @param after as of `failed` */
  probeFailed(condition: 'retrying' | 'blocked', now: number, after: number): void {
    this.#isProbing = false;
    if (this.#condition !== 'retrying') return;
    if (condition === 'blocked') {
      this.#fall(condition, now, after);
    } else {
      this.#isAway = true;
      this.#wait(now, after);
    }
  }

  #fall(condition: 'retrying' | 'blocked', now: number, after: number): void {
    this.#epoch++;
    this.#trial = undefined;
    this.#failures[condition]++;
    this.#condition = condition;
    this.#limit = Math.max(1, this.#limit / 2);
    this.#failedAt = now;
    this.#resumesAt = now + backoff(this.#failures[condition], condition, this.#options.random);
    this.#probeAfter(now);
    this.#wait(now, after);
  }

  /** Who says when to come back is away until then. */
  #wait(now: number, after: number): void {
    if (after <= 0) return;
    this.#isAway = true;
    this.#notBefore = Math.max(this.#notBefore, now + Math.min(after, LONGEST_AFTER_MS));
    // A probe goes first, which is lighter.
    const grace = this.#options.canProbe ? PROBE_EVERY.mostMs : 0;
    this.#resumesAt = Math.max(this.#resumesAt, this.#notBefore + grace);
  }

  #probeAfter(now: number): void {
    const { leastMs, mostMs } = PROBE_EVERY;
    this.#probesAt = now + leastMs + (mostMs - leastMs) * this.#options.random();
  }

  #end(ticket: Ticket): void {
    this.#inFlight--;
    if (this.#trial === ticket) this.#trial = undefined;
  }
}
