/** Enough to keep an upstream busy while an answer travels, and few enough to harm none. */
const FIRST_LEVEL = 2;
/** A measurement takes so many answers, and at least so many for each request at once, and at least so long. */
const LEAST_ANSWERS = 8;
const ANSWERS_EACH = 4;
const LEAST_MS = 500;
/** A level is the better one by this share of throughput, or by half of what the additional request could bring. */
const GAIN = 0.1;
/** Weight of the latest measurement of a level in what is known of it. */
const LATEST = 0.5;
/** Measurements between two trials of a neighbouring level: doubled with each that failed. */
const PATIENCE = { least: 1, most: 16 } as const;

/** A level whose throughput is so many times what it was, or the inverse, belongs to an upstream that has changed. */
const CHANGE = 1.5;

/** Answers of one level, from the first of them on, which is not counted: it only says when counting began. */
type Measurement = { readonly beganAt: number; answers: number; spans: number };

/**
 * The number of requests at once that stores the most spans a second, found by trying: one more while that brings
 * more, one less where that brings as much, for then the others only wait in the upstream. What was of no use is
 * tried again, ever more seldom, since upstreams change. Halved on failure.
 *
 * Learned only while more waits than goes: a trickle is as fast at every level. Without that the level stays.
 */
export class Concurrency {
  readonly #max: number;
  #level: number;
  /** Spans per ms at the level; undefined until it was measured. */
  #rate: number | undefined;
  /** A neighbouring level that is being tried. */
  #trial: number | undefined;
  #direction: 1 | -1 = 1;
  #patience: number = PATIENCE.least;
  /** Measurements until the next trial. */
  #untilTrial: number = PATIENCE.least;
  /** Answers that are left out: of requests that began at another level. */
  #toSkip = 0;
  #measurement: Measurement | undefined;

  constructor(max: number) {
    this.#max = max;
    this.#level = Math.min(FIRST_LEVEL, max);
  }

  /** Requests at once. */
  get limit(): number {
    return this.#trial ?? this.#level;
  }

  /** The upstream answered a request of so many spans, while more waited. @param now ms of a clock that never goes back */
  answered(now: number, spans: number): void {
    if (this.#toSkip > 0) {
      this.#toSkip--;
      return;
    }
    if (this.#measurement === undefined) {
      this.#measurement = { beganAt: now, answers: 0, spans: 0 };
      return;
    }
    this.#measurement.answers++;
    this.#measurement.spans += spans;
    const { beganAt, answers } = this.#measurement;
    const ms = now - beganAt;
    if (answers < Math.max(LEAST_ANSWERS, ANSWERS_EACH * this.limit) || ms < LEAST_MS) return;
    const rate = this.#measurement.spans / ms;
    this.#measurement = { beganAt: now, answers: 0, spans: 0 };
    if (this.#trial === undefined) this.#hold(rate);
    else this.#judge(this.#trial, rate);
  }

  /** Nothing waited: what was begun tells nothing. That one at once is better was not found out by a failure. */
  idle(): void {
    if (this.#rate === undefined) this.#level = Math.max(this.#level, Math.min(FIRST_LEVEL, this.#max));
    if (this.#trial !== undefined) this.#move(undefined);
    this.#measurement = undefined;
  }

  /** The upstream could not take what it was given. */
  failed(): void {
    // What failed because of the trial is not tried again soon; what failed otherwise is no news of any level.
    this.#patience = this.#trial === undefined ? PATIENCE.least : this.#longerPatience();
    const lowered = Math.max(1, Math.floor(this.limit / 2));
    if (lowered !== this.#level) this.#rate = undefined;
    this.#level = lowered;
    this.#direction = 1;
    this.#untilTrial = this.#patience;
    this.#move(undefined);
  }

  #hold(rate: number): void {
    const before = this.#rate ?? rate;
    if (rate > before * CHANGE || rate < before / CHANGE) {
      this.#rate = rate;
      this.#direction = rate > before ? 1 : -1;
      this.#patience = PATIENCE.least;
      this.#untilTrial = 0;
    } else {
      this.#rate = before + LATEST * (rate - before);
      this.#untilTrial--;
    }
    if (this.#untilTrial > 0) return;
    if (!this.#canGo(this.#direction)) this.#direction = -this.#direction as 1 | -1;
    if (this.#canGo(this.#direction)) this.#move(this.#level + this.#direction);
  }

  #judge(trial: number, rate: number): void {
    const before = this.#rate ?? 0;
    const isBetter =
      this.#direction === 1 ? isWorthIt(trial, rate, before) : !isWorthIt(this.#level, before, rate);
    if (isBetter) {
      this.#level = trial;
      this.#rate = rate;
      this.#patience = PATIENCE.least;
      this.#move(this.#canGo(this.#direction) ? trial + this.#direction : undefined);
    } else {
      this.#direction = -this.#direction as 1 | -1;
      this.#patience = this.#longerPatience();
      this.#move(undefined);
    }
    this.#untilTrial = this.#patience;
  }

  #canGo(direction: 1 | -1): boolean {
    const next = this.#level + direction;
    return next >= 1 && next <= this.#max;
  }

  #longerPatience(): number {
    return Math.min(PATIENCE.most, this.#patience * 2);
  }

  #move(trial: number | undefined): void {
    const before = this.limit;
    this.#trial = trial;
    this.#measurement = undefined;
    this.#toSkip = Math.max(before, this.limit);
  }
}

/** Whether the rate of a level is so much above that of the next lower one that it is no chance. */
function isWorthIt(level: number, rate: number, rateBelow: number): boolean {
  const possible = 1 / (level - 1);
  return rate >= rateBelow * (1 + Math.min(GAIN, possible / 2));
}
