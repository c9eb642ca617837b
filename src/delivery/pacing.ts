export type PacingOptions = {
  /** Most requests at once. */
  readonly maxInFlight: number;
  /** Values in [0, 1), for jitter. */
  readonly random: () => number;
};

/** The upstream takes requests; or does not for now; or cannot before a person has acted. */
export type UpstreamCondition = 'up' | 'retrying' | 'blocked';

/** A request that was begun; to be handed back once, with its outcome. */
export type Ticket = { readonly epoch: number; readonly isProbe: boolean };

/** Enough to keep an upstream busy while an answer travels, and few enough to harm none. */
const FIRST_LIMIT = 2;
const BACKOFF = {
  retrying: { baseMs: 500, capMs: 30_000 },
  blocked: { baseMs: 2_000, capMs: 60_000 },
} as const;
/** A `Retry-After` beyond this is taken for a mistake. */
const LONGEST_AFTER_MS = 3_600_000;

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
 * After a failure one request probes, after a pause; when it succeeds the others go on at the lowered limit, which
 * grows from there: no stampede.
 *
 * Requests that were under way together fail together: only the first of them is counted, and what the others bring
 * later says nothing about the upstream of now. Times are ms of one clock that never goes back.
 */
export class Pacing {
  readonly #options: PacingOptions;
  #condition: UpstreamCondition = 'up';
  #limit: number;
  #inFlight = 0;
  #isProbing = false;
  #failures = 0;
  #resumesAt = 0;
  /** Grows with each failure that counts. */
  #epoch = 0;

  constructor(options: PacingOptions) {
    this.#options = options;
    this.#limit = Math.min(FIRST_LIMIT, options.maxInFlight);
  }

  get condition(): UpstreamCondition {
    return this.#condition;
  }

  /** How many requests may begin at `now`. */
  slots(now: number): number {
    if (this.#condition === 'up') return Math.max(0, Math.floor(this.#limit) - this.#inFlight);
    const mayProbe = !this.#isProbing && now >= this.#resumesAt && this.#inFlight < this.#options.maxInFlight;
    return mayProbe ? 1 : 0;
  }

  /** When there are slots again by waiting alone; undefined if there is nothing to wait for. */
  resumesAt(): number | undefined {
    return this.#condition === 'up' || this.#isProbing ? undefined : this.#resumesAt;
  }

  begin(): Ticket {
    const isProbe = this.#condition !== 'up';
    this.#inFlight++;
    if (isProbe) this.#isProbing = true;
    return { epoch: this.#epoch, isProbe };
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
    this.#failures = 0;
    if (moreWaits || this.#limit < FIRST_LIMIT) {
      // By one a round of requests, not by one a request.
      this.#limit = Math.min(this.#options.maxInFlight, this.#limit + 1 / Math.floor(this.#limit));
    }
  }

  /** @param after least pause that the upstream asked for, in ms; 0 without */
  failed(ticket: Ticket, condition: 'retrying' | 'blocked', now: number, after: number): void {
    this.#end(ticket);
    if (ticket.epoch !== this.#epoch) {
      if (after > 0) this.#resumesAt = Math.max(this.#resumesAt, now + Math.min(after, LONGEST_AFTER_MS));
      return;
    }
    this.#epoch++;
    this.#failures++;
    this.#condition = condition;
    this.#limit = Math.max(1, this.#limit / 2);
    this.#resumesAt = now + pauseAfter(this.#failures, condition, after, this.#options.random);
  }

  #end(ticket: Ticket): void {
    this.#inFlight--;
    if (ticket.isProbe) this.#isProbing = false;
  }
}
