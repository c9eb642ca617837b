import type { Destination, ResolvedTarget, SendOutcome } from '../destinations/destination.ts';
import type { Lease } from '../queue/queue.ts';
import { bytesOf } from './batch.ts';
import type { Batch } from './batch.ts';
import type { BatchSizing } from './batch-sizing.ts';
import { mend } from './divide.ts';
import { Isolation } from './isolation.ts';
import type { Delivered, Refusal, Seen, Verdict } from './isolation.ts';
import type { Outbox } from './outbox.ts';
import type { Pacing, Ticket } from './pacing.ts';
import type { Consignment } from './retry-line.ts';
import type { Settlement } from './settlement.ts';
import type { Upstream } from './upstream.ts';

/**
 * Doubtful refusals with no delivery in between, after which it is the upstream and no span that is to blame. Down to
 * one span of the largest batch, and to its neighbour, it takes fewer.
 */
const MOST_DOUBTS = 24;

const CONTENT_TOO_LARGE = 413;

type Failure = Exclude<SendOutcome, { kind: 'delivered' | 'refused' }>;

export type AnswersDeps = {
  readonly destination: Pick<Destination, 'repair' | 'probe'>;
  readonly pacing: Pacing;
  readonly sizing: BatchSizing;
  readonly outbox: Outbox;
  readonly settlement: Settlement;
  readonly upstream: Upstream;
};

/** What an answer of the upstream means: for the batch, for what is sent next, for the state that people see. */
export class Answers {
  readonly #deps: AnswersDeps;
  /** Of requests with spans, whatever they said. */
  #answers = 0;
  #seen: Seen = { deliveries: 0, acceptances: 0 };
  /** Doubtful refusals since the last delivery. */
  #doubts = 0;
  #failedTarget: ResolvedTarget | undefined;

  constructor(deps: AnswersDeps) {
    this.#deps = deps;
  }

  get seen(): Seen {
    return this.#seen;
  }

  /** Of the request that failed last. */
  get failedTarget(): ResolvedTarget | undefined {
    return this.#failedTarget;
  }

  /** @param about.ms how long it took; `seenBefore`: what was seen when it began */
  toBatch(
    consignment: Consignment,
    ticket: Ticket,
    outcome: SendOutcome,
    about: { readonly ms: number; readonly seenBefore: Seen },
  ): void {
    this.#resize(consignment.batch, outcome, about.ms);
    if (outcome.kind === 'delivered') this.#delivered(consignment, ticket, outcome);
    else if (outcome.kind === 'refused') this.#refused(consignment, ticket, outcome);
    else this.#failed(consignment, ticket, outcome, this.#seen.acceptances > about.seenBefore.acceptances);
    for (const [isolation, verdicts] of this.#deps.outbox.takeIsolated()) this.#apply(isolation, verdicts);
  }

  /** To a probe for an isolation. What takes not even nothing is set up wrong, whatever it says of it. */
  toQuestion(target: ResolvedTarget, ticket: Ticket, outcome: SendOutcome): void {
    if (outcome.kind === 'delivered') {
      this.#accepted();
      this.#answered(ticket, 0);
      return;
    }
    const failure =
      outcome.kind === 'refused' ? { kind: 'blocked' as const, reason: outcome.reason } : outcome;
    this.#fell(target, ticket, failure);
  }

  /** To a probe of an upstream that is down. What comes of it is said only then: that it is up, batches have to tell. */
  toProbe(outcome: SendOutcome): void {
    const { pacing } = this.#deps;
    const now = performance.now();
    if (outcome.kind === 'delivered') this.#accepted();
    if (outcome.kind === 'delivered' || outcome.kind === 'refused') {
      pacing.probeAnswered(now);
      return;
    }
    const { condition, after } = failureOf(outcome);
    pacing.probeFailed(condition, now, after);
    this.#tellDown(outcome.reason, now);
  }

  #resize(batch: Batch<Lease>, outcome: SendOutcome, ms: number): void {
    const { sizing } = this.#deps;
    const size = { spans: batch.spanCount, bytes: bytesOf(batch) };
    if (outcome.kind === 'delivered') sizing.answered({ ...size, ms });
    else if (outcome.kind === 'retry' && outcome.tooSlow === true) sizing.tooSlow(size);
    else if (outcome.kind === 'refused' && outcome.status === CONTENT_TOO_LARGE) sizing.tooLarge(size);
  }

  #delivered(consignment: Consignment, ticket: Ticket, outcome: Delivered): void {
    const { batch, isolation, attempts } = consignment;
    const { deliveries, acceptances } = this.#seen;
    this.#seen = { deliveries: deliveries + 1, acceptances: acceptances + 1 };
    this.#doubts = 0;
    this.#answered(ticket, batch.spanCount);
    const piece = { batch, attempts };
    if (isolation === undefined) this.#deps.settlement.delivered(piece, outcome);
    else this.#apply(isolation, isolation.delivered(piece, outcome));
  }

  /** A refusal of these bytes; or a fault of the upstream, if it says of everything what it says of a bad span. */
  #refused(consignment: Consignment, ticket: Ticket, refusal: Refusal): void {
    const { batch, isolation, attempts } = consignment;
    if (refusal.doubtful === true && ++this.#doubts > MOST_DOUBTS) {
      const reason = `${refusal.reason}; whatever is sent is answered like this, so that no span is to blame: see to the upstream`;
      const kind = refusal.status >= 500 ? 'retry' : 'blocked';
      this.#failed(consignment, ticket, { kind, reason }, false);
      return;
    }
    this.#answered(ticket, 0);
    const piece = { batch, attempts };
    if (isolation !== undefined) {
      this.#apply(isolation, isolation.refused(piece, refusal, this.#seen));
      return;
    }
    const { destination, outbox } = this.#deps;
    const begun = new Isolation<Lease>(refusal, this.#seen, destination.probe !== undefined);
    outbox.isolate(begun);
    const mended = destination.repair && mend(batch, (payload) => destination.repair?.(payload));
    if (mended === undefined) this.#apply(begun, begun.refused(piece, refusal, this.#seen));
    else begun.add({ batch: mended, attempts });
  }

  /** Keeps the batch, its traces busy: the upstream may still be at work on them. */
  #failed(consignment: Consignment, ticket: Ticket, failure: Failure, isAlive: boolean): void {
    const pause = this.#fell(consignment.batch.target, ticket, failure);
    const isTooMuch = failure.kind === 'retry' && failure.tooSlow === true && isAlive;
    this.#deps.outbox.retry(consignment, { ...pause, answers: this.#answers }, isTooMuch);
  }

  #fell(target: ResolvedTarget, ticket: Ticket, failure: Failure) {
    const now = performance.now();
    const { condition, after } = failureOf(failure);
    this.#failedTarget = target;
    this.#deps.pacing.failed(ticket, condition, now, after);
    this.#tellDown(failure.reason, now);
    return { now, condition, after };
  }

  #answered(ticket: Ticket, spans: number): void {
    const { pacing, outbox, upstream } = this.#deps;
    this.#answers++;
    pacing.answered(ticket, { now: performance.now(), spans, moreWaits: outbox.hasMore });
    if (pacing.condition === 'up') upstream.isUp();
  }

  #accepted(): void {
    const { deliveries, acceptances } = this.#seen;
    this.#seen = { deliveries, acceptances: acceptances + 1 };
  }

  #apply(isolation: Isolation<Lease>, verdicts: readonly Verdict<Lease>[]): void {
    const { settlement } = this.#deps;
    for (const verdict of verdicts) {
      if (verdict.kind === 'guilty') settlement.guilty(verdict.piece, verdict.refusal);
      else settlement.delivered(verdict.piece, verdict.outcome, isolation.refusal);
    }
  }

  #tellDown(reason: string, now: number): void {
    const { pacing, upstream } = this.#deps;
    if (pacing.condition === 'up') return;
    const nextAt = Math.min(pacing.resumesAt() ?? Infinity, pacing.probesAt() ?? Infinity);
    upstream.isDown(pacing.condition, reason, Number.isFinite(nextAt) ? nextAt - now : 0);
  }
}

function failureOf(failure: Failure): { condition: 'retrying' | 'blocked'; after: number } {
  return failure.kind === 'retry'
    ? { condition: 'retrying', after: failure.after ?? 0 }
    : { condition: 'blocked', after: 0 };
}
