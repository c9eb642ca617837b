import { Concurrency } from './concurrency.ts';

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
export type Ticket = {
  readonly epoch: number;
  /** It has kept no other from going. */
  readonly isBeside: boolean;
};

export type Answer = {
  readonly now: number;
  /** That the upstream has stored; 0 tells nothing of how fast it is. */
  readonly spans: number;
  /** There was work for another request. */
  readonly moreWaits: boolean;
};

const BACKOFF = {
  retrying: { baseMs: 500, capMs: 30_000 },
  blocked: { baseMs: 2_000, capMs: 60_000 },
  /** What fails while others are taken. */
  alone: { baseMs: 500, capMs: 300_000 },
} as const;
/** A `Retry-After` beyond this is taken for a mistake. */
const LONGEST_AFTER_MS = 3_600_000;
/** From one probe to the next, with jitter: with the answer's time still within a second. */
const PROBE_EVERY = { leastMs: 600, mostMs: 900 };

/**
 * How long to wait after the `failures`th failure in a row, in ms: doubled each time up to the cap, of which a random
 * half to whole, so that relays that failed together do not come back together.
 */
export function backoff(failures: number, condition: keyof typeof BACKOFF, random: () => number): number {
  const { baseMs, capMs } = BACKOFF[condition];
  return Math.min(capMs, baseMs * 2 ** (failures - 1)) * (0.5 + random() / 2);
}

/** As `backoff`, and at least `after`: what the upstream asked for (`Retry-After`), in ms, within reason. */
export function pauseAfter(
  failures: number,
  condition: keyof typeof BACKOFF,
  after: number,
  random: () => number,
): number {
  return Math.max(Math.min(after, LONGEST_AFTER_MS), backoff(failures, condition, random));
}

/**
 * How many requests may be under way, and when. While the upstream is up, as many as `Concurrency` has found to be of
 * use. After a failure one request is the trial, after a pause; when it succeeds, one more may go with each answer, up
 * to the lowered limit: no stampede.
 *
 * Pauses grow to half a minute. That a `retrying` upstream is back is noticed sooner, by probes: requests that carry
 * nothing, about one a second. One that is answered after others were not ends the pause. One that is answered
 * throughout tells only that the upstream is there, though it does not take batches: then the pause is what spares it.
 * Before a `Retry-After` is over there is neither trial nor probe. A `blocked` upstream is probed when the pause is
 * over, and gets the trial only once it has answered that: what a person has to mend first is not tried with data.
 *
 * Requests that were under way together fail together: only the first of them is counted, and what the others bring
 * later says nothing about the upstream of now. Times are ms of one clock that never goes back.
 */
export class Pacing {
  readonly #options: PacingOptions;
  #condition: UpstreamCondition = 'up';
  readonly #concurrency: Concurrency;
  /** Most requests at once since the last return; grows with each answer. */
  #ramp = Infinity;
  #inFlight = 0;
  /** Of the request that goes beside the others. */
  #beside: Ticket | undefined;
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
  /** Of the probe that is under way. */
  #probeEpoch = 0;
  #probesAt = 0;
  /** Blocked, and a probe was answered since: one batch may show whether it is over. */
  #isCleared = false;
  /** Not there at all, by the last that was heard of it. */
  #isAway = false;
  /** How often it was back since the last success. */
  #returns = 0;

  constructor(options: PacingOptions) {
    this.#options = options;
    this.#concurrency = new Concurrency(options.maxInFlight);
  }

  get condition(): UpstreamCondition {
    return this.#condition;
  }

  /** Times that it did not take a request for now, since it has taken one. */
  get failuresInARow(): number {
    return this.#failures.retrying;
  }

  /** Not there at all, by the last that was heard of it. */
  get isAway(): boolean {
    return this.#isAway;
  }

  /** No request is under way. */
  get isIdle(): boolean {
    return this.#inFlight === 0 && this.#beside === undefined;
  }

  /** No more than one request is under way. */
  get isNearlyIdle(): boolean {
    return this.#inFlight + (this.#beside === undefined ? 0 : 1) <= 1;
  }

  /** Most requests at once, as far as was found out. */
  get limit(): number {
    return this.#concurrency.limit;
  }

  /** How many requests may begin at `now`. */
  slots(now: number): number {
    if (this.#condition === 'up') {
      return Math.max(0, Math.min(this.#concurrency.limit, this.#ramp, this.#mostInFlight) - this.#inFlight);
    }
    const isBusy = this.#trial !== undefined || this.#isProbing || this.#awaitsProbe;
    return !isBusy && now >= this.#resumesAt && this.#inFlight < this.#mostInFlight ? 1 : 0;
  }

  /**
   * Whether a request may begin that is known to fail, or to take long: one at a time, while the upstream is up, and
   * beside as many others as are of use, so that these do not wait for it.
   */
  get hasSlotBeside(): boolean {
    const isFree = this.#beside === undefined && this.#inFlight < this.#options.maxInFlight;
    return this.#condition === 'up' && isFree;
  }

  /** But for the one beside them. */
  get #mostInFlight(): number {
    return this.#options.maxInFlight - (this.#beside === undefined ? 0 : 1);
  }

  /** When there are slots again by waiting alone; undefined if there is nothing to wait for. */
  resumesAt(): number | undefined {
    return this.#condition === 'up' || this.#trial !== undefined || this.#awaitsProbe
      ? undefined
      : this.#resumesAt;
  }

  /** When a probe may begin; undefined if none is of use, or one is under way. */
  probesAt(): number | undefined {
    if (this.#isProbing || !this.#options.canProbe) return undefined;
    if (this.#awaitsProbe) return this.#resumesAt;
    return this.#condition === 'retrying' ? Math.max(this.#probesAt, this.#notBefore) : undefined;
  }

  get #awaitsProbe(): boolean {
    return this.#condition === 'blocked' && this.#options.canProbe && !this.#isCleared;
  }

  /** There is reason to try again before the pause is over. */
  tryNow(now: number): void {
    this.#resumesAt = Math.max(this.#notBefore, Math.min(this.#resumesAt, now));
  }

  /** @param isBeside while `hasSlotBeside` */
  begin(now: number, isBeside = false): Ticket {
    const ticket = { epoch: this.#epoch, isBeside };
    if (isBeside) {
      this.#beside = ticket;
      return ticket;
    }
    this.#inFlight++;
    if (this.#condition !== 'up') {
      this.#trial = ticket;
      // The trial tells more than a probe, unless its answer does not come.
      this.#probeAfter(now);
    }
    return ticket;
  }

  /** The upstream took the request, or refused these bytes: it is there. */
  answered(ticket: Ticket, { now, spans, moreWaits }: Answer): void {
    this.#end(ticket);
    if (ticket.epoch !== this.#epoch || ticket.isBeside) return;
    this.#condition = 'up';
    this.#failures.retrying = 0;
    this.#failures.blocked = 0;
    this.#notBefore = 0;
    this.#isAway = false;
    this.#returns = 0;
    if (this.#ramp < this.#concurrency.limit) this.#ramp++;
    else this.#ramp = Infinity;
    if (!moreWaits) this.#concurrency.idle();
    else if (spans > 0 && this.#ramp === Infinity) this.#concurrency.answered(now, spans);
  }

  /** @param after least pause that the upstream asked for, in ms; 0 without */
  failed(ticket: Ticket, condition: 'retrying' | 'blocked', now: number, after: number): void {
    this.#end(ticket);
    if (ticket.epoch === this.#epoch) this.#fall(condition, now, after);
    else if (this.#condition !== 'up') this.#wait(now, after);
  }

  beginProbe(now: number): void {
    this.#isProbing = true;
    this.#probeEpoch = this.#epoch;
    this.#probeAfter(now);
  }

  /** It is there. */
  probeAnswered(now: number): void {
    this.#isProbing = false;
    if (this.#condition === 'blocked') this.#isCleared = this.#probeEpoch === this.#epoch;
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
    if (this.#condition === 'up') return;
    const isNews =
      this.#condition === 'retrying' ? condition === 'blocked' : this.#probeEpoch === this.#epoch;
    if (isNews) this.#fall(condition, now, after);
    else this.#wait(now, after);
    if (condition === 'retrying') this.#isAway = true;
  }

  #fall(condition: 'retrying' | 'blocked', now: number, after: number): void {
    this.#epoch++;
    this.#trial = undefined;
    this.#isCleared = false;
    this.#failures[condition]++;
    // Neither what a person has to mend nor a request that was alone says anything of how many can go at once.
    if (this.#condition === 'up' && condition === 'retrying') this.#concurrency.failed();
    this.#ramp = 1;
    this.#condition = condition;
    this.#failedAt = now;
    const pause = backoff(this.#failures[condition], condition, this.#options.random);
    this.#resumesAt = Math.max(this.#notBefore, now + pause);
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
    if (ticket.isBeside) this.#beside = undefined;
    else this.#inFlight--;
    if (this.#trial === ticket) this.#trial = undefined;
  }
}
