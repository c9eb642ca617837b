import type { Lease } from '../queue/queue.ts';
import type { Batch } from './batch.ts';
import { pauseAfter } from './pacing.ts';

/** A batch from its first attempt until it is settled. Its bytes stay as they are. */
export type Consignment = {
  readonly batch: Batch<Lease>;
  /** Requests that were made of it. */
  attempts: number;
  /** Failures between which the upstream answered others: it is this batch, not the upstream. */
  failuresAlone: number;
  /** Answers that the upstream had given when this one failed last. */
  answersBefore: number | undefined;
  notBefore: number;
  /** Refusals that may have been passing faults, and what had been delivered of others when the first one came. */
  doubts: { times: number; readonly deliveriesBefore: number } | undefined;
};

export function newConsignment(batch: Batch<Lease>): Consignment {
  return { batch, attempts: 0, failuresAlone: 0, answersBefore: undefined, notBefore: 0, doubts: undefined };
}

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

  /** @param failure.answers how many requests the upstream has answered so far, of whatever batch */
  push(
    consignment: Consignment,
    failure: { now: number; condition: 'retrying' | 'blocked'; after: number; answers: number },
  ): void {
    const { now, condition, after, answers } = failure;
    if (consignment.answersBefore !== undefined && consignment.answersBefore < answers)
      consignment.failuresAlone++;
    consignment.answersBefore = answers;
    consignment.notBefore = now + pauseAfter(1 + consignment.failuresAlone, condition, after, this.#random);
    this.#line.push(consignment);
  }

  /** The first whose pause is over. */
  takeDue(now: number): Consignment | undefined {
    const index = this.#line.findIndex(({ notBefore }) => notBefore <= now);
    return index === -1 ? undefined : this.#line.splice(index, 1)[0];
  }

  /** When the next pause is over; undefined if none waits. */
  nextDueAt(): number | undefined {
    return this.isEmpty
      ? undefined
      : this.#line.reduce((at, { notBefore }) => Math.min(at, notBefore), Infinity);
  }
}
