import type { Lease } from '../queue/queue.ts';
import type { Batch } from './batch.ts';
import { isOwn } from './failure-evidence.ts';
import type { OwnFailures } from './failure-evidence.ts';
import type { Halving } from './halving.ts';
import type { Isolation } from './isolation.ts';
import { pauseAfter } from './pacing.ts';
import type { TraceSieve } from './trace-sieve.ts';

/** A batch, or a piece of one, from its first attempt until something is known of it. Its bytes stay as they are. */
export type Consignment = {
  readonly batch: Batch<Lease>;
  /** Other pieces of the batch may have spans of the same trace. */
  readonly isPiece: boolean;
  /** That it is a piece of. */
  readonly isolation: Isolation<Lease> | undefined;
  /** That it was taken from, until something is known of it. */
  sieve: TraceSieve<Lease> | undefined;
  /** Requests that were made of it. */
  attempts: number;
  /** The size of the last request, before compression. */
  bytes: number;
  /** It is of a released batch, and its traces are busy by it. */
  isOccupying: boolean;
  /** Failures between which the upstream answered others: it is this batch, not the upstream. */
  failuresAlone: number;
  /** What its failures tell; undefined while there is none. */
  own: OwnFailures | undefined;
  /** The words of its last failure. */
  reason: string | undefined;
  /** Of what it is a half, where it is not known yet what came of that. */
  readonly halving: Halving | undefined;
  /** Answers that the upstream had given when this one failed last. */
  answersBefore: number | undefined;
  notBefore: number;
};

export function newConsignment(
  batch: Batch<Lease>,
  about: Partial<
    Pick<Consignment, 'isPiece' | 'isolation' | 'sieve' | 'attempts' | 'failuresAlone' | 'own' | 'halving'>
  > = {},
): Consignment {
  const { isPiece = false, isolation, sieve, attempts = 0, failuresAlone = 0, own, halving } = about;
  return {
    batch,
    isPiece,
    isolation,
    sieve,
    attempts,
    bytes: 0,
    isOccupying: false,
    failuresAlone,
    own,
    reason: undefined,
    halving,
    answersBefore: undefined,
    notBefore: 0,
  };
}

/** What a pause depends on. */
export type PauseOf = {
  readonly now: number;
  readonly condition: 'retrying' | 'blocked';
  /** Least pause that the upstream asked for, in ms; 0 without. */
  readonly after: number;
  /** How many requests the upstream has answered so far, of whatever batch. */
  readonly answers: number;
};

/** How what failed goes again. */
export type Again = {
  /** In halves. */
  readonly isTooMuch: boolean;
  /** It fails by itself, and goes beside the others. */
  readonly isAlone: boolean;
};

/**
 * Batches that failed, in the order in which they go again. Each waits for a pause of its own, which grows only
 * while others succeed: after an outage all go at once, and a batch that fails by itself goes ever more seldom.
 * Times are ms of one clock that never goes back.
 */
export class RetryLine {
  readonly #random: () => number;
  readonly #line: Consignment[] = [];

  /** @param random values in [0, 1), for jitter */
  constructor(random: () => number) {
    this.#random = random;
  }

  get isEmpty(): boolean {
    return this.#line.length === 0;
  }

  /** To go next, as if its pause were over. */
  add(consignment: Consignment): void {
    this.#line.push(consignment);
  }

  /** @param consignments all of one batch: they wait for the same time, and go in order then */
  push(consignments: readonly Consignment[], failure: PauseOf): void {
    const { now, condition, after, answers } = failure;
    const chance = this.#random();
    for (const consignment of consignments) {
      if (consignment.answersBefore !== undefined && consignment.answersBefore < answers)
        consignment.failuresAlone++;
      consignment.answersBefore = answers;
      const { failuresAlone, own } = consignment;
      // It is not for the upstream to come back, but for the batch to be seldom.
      const kind = condition === 'retrying' && isOwn(own) ? 'alone' : condition;
      consignment.notBefore = now + pauseAfter(1 + failuresAlone, kind, after, () => chance);
      this.#line.push(consignment);
    }
  }

  /** The first whose pause is over, and that `mayGo`. */
  takeDue(now: number, mayGo: (consignment: Consignment) => boolean = () => true): Consignment | undefined {
    const index = this.#line.findIndex((one) => one.notBefore <= now && mayGo(one));
    return index === -1 ? undefined : this.#line.splice(index, 1)[0];
  }

  /** When the next pause is over of those that `mayGo`; undefined if none waits. */
  nextDueAt(mayGo: (consignment: Consignment) => boolean = () => true): number | undefined {
    const times = this.#line.filter((one) => mayGo(one)).map(({ notBefore }) => notBefore);
    return times.length === 0 ? undefined : Math.min(...times);
  }
}
