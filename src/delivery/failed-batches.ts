import type { Lease } from '../queue/queue.ts';
import { sendersOf } from './batch.ts';
import type { Batch } from './batch.ts';
import type { BatchSizing } from './batch-sizing.ts';
import { halveBySender } from './divide.ts';
import { failureOf } from './failure.ts';
import type { Failure } from './failure.ts';
import { FailureEvidence, isAlone, isToGiveUp, isToHalve } from './failure-evidence.ts';
import type { OwnFailures } from './failure-evidence.ts';
import type { Refusal } from './isolation.ts';
import type { Outbox } from './outbox.ts';
import type { Pacing, Ticket } from './pacing.ts';
import type { Again, Consignment } from './retry-line.ts';
import { ServedSenders } from './served-senders.ts';
import type { UpstreamNews } from './upstream-news.ts';

/** So often a batch fails between answers to others until it is taken for what fails, and not the upstream. */
const FAILURES_ALONE = 1;

/** After so many failures of one batch it is known that it is this one, and no stream of such. */
const FAILURES_OF_NEWS = 2;

/** An upstream that is there, and takes none of so many batches one after the other, gets less at once. */
const FAILURES_IN_A_ROW = 6;

/**
 * What fails by itself leaves the upstream to others for so many times as long as it has kept it busy: as long where it
 * goes in halves, which comes to an end soon.
 */
const SPARED = { halves: 1, whole: 4 } as const;

export type FailedBatchesDeps = {
  readonly pacing: Pacing;
  readonly outbox: Outbox;
  readonly sizing: Pick<BatchSizing, 'tooSlow' | 'isUnproven'>;
  readonly news: UpstreamNews;
  /** Nothing new can be read before what is open is settled. */
  readonly isPressed: () => boolean;
  /** It is not sent again. */
  readonly giveUp: (consignment: Consignment, refusal: Refusal) => void;
};

export type FailedRequest = {
  readonly failure: Failure;
  readonly number: number;
  /** The last request that has begun. */
  readonly begun: number;
  /** How long it took. */
  readonly ms: number;
  /** What began later was taken. */
  readonly isAlive: boolean;
};

/**
 * What becomes of a batch whose request failed in a way that may pass. It goes again, its traces busy: the upstream may
 * still be at work on them. A batch that fails while the upstream serves others is apart from these, goes ever more
 * seldom and in halves, and in the end its one span is given up.
 */
export class FailedBatches {
  readonly #deps: FailedBatchesDeps;
  readonly #served = new ServedSenders();
  readonly #evidence = new FailureEvidence();

  constructor(deps: FailedBatchesDeps) {
    this.#deps = deps;
  }

  /** What became of a request of a batch. */
  heard({ batch, isPiece, own }: Consignment, isFailed: boolean): void {
    if ((own?.times ?? 0) === 0) this.#evidence.tried(batch.target.key, { isPart: isPiece, isFailed });
  }

  /** The upstream has stored a batch, by request `number`. */
  stored({ batch }: Consignment, number: number): void {
    this.#served.served(sendersOf(batch), performance.now());
    this.#evidence.stored(batch.target.key, number);
  }

  failed(consignment: Consignment, ticket: Ticket, request: FailedRequest): void {
    const { outbox, pacing, sizing, news } = this.#deps;
    const { batch, bytes, isolation } = consignment;
    const { failure, number, begun, isAlive } = request;
    const isTooSlow = failure.kind === 'retry' && failure.tooSlow === true;
    const now = performance.now();
    const before = consignment.own;
    const since = isTooSlow ? number : undefined;
    const own = this.#evidence.failed(before, { target: batch.target.key, now, since, begun });
    consignment.own = own;
    consignment.reason = failure.reason;
    const isUp = pacing.condition === 'up';
    if (batch.spanCount === 1 && isToGiveUp(own, now, this.#deps.isPressed())) {
      if (isUp) news.answered(ticket, 0);
      else news.fell(batch.target, ticket, failure);
      this.#deps.giveUp(consignment, refusalOf(failure, own, now));
      return;
    }
    const isTooMuch = isTooSlow && isAlive;
    const isByItself = isUp && isAlone(before, own);
    if (isByItself || this.#isOfSender(consignment)) {
      const how = { isTooMuch: isTooMuch || isToHalve(own), isAlone: isByItself };
      this.#failedAlone(consignment, ticket, request, how);
      return;
    }
    // Tried again, and failed again: it may be what one sender has in it, which its parts tell.
    const isTrial = !isUp && isolation === undefined;
    const halves = isTrial ? halveBySender(batch) : undefined;
    const isTooLarge = !isUp && failure.kind === 'retry' && this.#isTooLarge(consignment);
    if (isTooLarge) sizing.tooSlow({ spans: batch.spanCount, bytes });
    const pauseOf = news.fell(batch.target, ticket, failure);
    // What fills the window may be all that it does not take: that shows by what others have sent.
    const isInTheWay = pacing.failuresInARow > FAILURES_IN_A_ROW && !pacing.isAway && outbox.isFull;
    if (isInTheWay) for (const sender of sendersOf(batch)) outbox.refused(sender, now);
    if (halves !== undefined) outbox.part(halves, consignment);
    else
      outbox.retry(consignment, pauseOf, {
        isTooMuch: isTooMuch || isTooLarge || isToHalve(own),
        isAlone: false,
      });
  }

  /** Less at once may be taken: nothing of its size was lately, or nothing at all is, and the upstream is there. */
  #isTooLarge({ batch, attempts }: Consignment): boolean {
    const { pacing, sizing } = this.#deps;
    const isUnproven = attempts > 1 && sizing.isUnproven({ spans: batch.spanCount });
    return !pacing.isAway && (isUnproven || pacing.failuresInARow > FAILURES_IN_A_ROW);
  }

  areApart(senders: ReadonlySet<string>): boolean {
    const { apart } = this.#deps.outbox;
    return [...senders].every((sender) => apart.has(sender));
  }

  /** The upstream serves others, and fails at what is of this sender, or at this batch again and again. */
  #isOfSender({ batch, failuresAlone }: { batch: Batch<Lease>; failuresAlone: number }): boolean {
    const senders = sendersOf(batch);
    const isKnown = failuresAlone >= FAILURES_ALONE || this.areApart(senders);
    return isKnown && this.#served.hasServedOthers(senders, performance.now());
  }

  /** It is not the upstream that has to be spared. The batch waits for its own pause, and its sender is apart. */
  #failedAlone(consignment: Consignment, ticket: Ticket, request: FailedRequest, how: Again): void {
    const { outbox, news } = this.#deps;
    const { batch, isolation } = consignment;
    const now = performance.now();
    const halves = isolation === undefined ? halveBySender(batch) : undefined;
    news.answered(ticket, 0);
    if (halves !== undefined) {
      outbox.part(halves, consignment);
      return;
    }
    // What has failed so often by itself goes beside all others, those of its sender too.
    const isNews = (consignment.own?.times ?? 0) <= FAILURES_OF_NEWS;
    if (isNews || !how.isAlone) for (const sender of sendersOf(batch)) outbox.refused(sender, now);
    const { condition, after } = failureOf(request.failure);
    const spared = Math.max(
      after,
      SPARED[how.isTooMuch && batch.spanCount > 1 ? 'halves' : 'whole'] * request.ms,
    );
    const pauseOf = { now, condition, after: spared, answers: news.answers };
    outbox.retry(consignment, pauseOf, how);
  }
}

/** What a dead letter says of a span that is not sent again. */
function refusalOf(failure: Failure, { times, since = 0 }: OwnFailures, now: number): Refusal {
  const first = new Date(Date.now() - (now - since)).toISOString();
  const limit =
    failure.kind === 'retry' && failure.tooSlow === true
      ? 'raise the timeout of the destination, or see why the upstream takes so long for it'
      : 'see to what the answer names, such as a limit of the database behind the upstream (max_allowed_packet, statement_timeout, a character set)';
  const reason = `${failure.reason}; this span alone failed like this ${times} times since ${first}, while others were stored: ${limit}, and then replay it`;
  return { kind: 'refused', reason, status: undefined };
}
