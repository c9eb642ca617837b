import type { Destination, ResolvedTarget, SendOutcome } from '../destinations/destination.ts';
import type { Lease } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import { sendersOf } from './batch.ts';
import type { Batch } from './batch.ts';
import type { BatchSizing } from './batch-sizing.ts';
import { halveBySender } from './divide.ts';
import { FailedBatches } from './failed-batches.ts';
import { failureOf } from './failure.ts';
import { Isolation } from './isolation.ts';
import type { Delivered, Refusal, Seen, Verdict } from './isolation.ts';
import { mend } from './mending.ts';
import type { Outbox } from './outbox.ts';
import type { Pacing, Ticket } from './pacing.ts';
import type { Consignment } from './retry-line.ts';
import type { Settlement } from './settlement.ts';
import { isTraceRefusal, TraceRefusals } from './trace-refusals.ts';
import type { TraceRefusal } from './trace-refusals.ts';
import type { UpstreamNews } from './upstream-news.ts';

/**
 * Doubtful refusals with no delivery in between, after which it is the upstream and no span that is to blame. Down to
 * one span of the largest batch, and to its neighbour, it takes fewer.
 */
const MOST_DOUBTS = 24;

const CONTENT_TOO_LARGE = 413;

export type AnswersDeps = {
  readonly destination: Pick<Destination, 'repair' | 'probe'>;
  readonly pacing: Pacing;
  readonly sizing: BatchSizing;
  readonly outbox: Outbox;
  readonly settlement: Settlement;
  readonly news: UpstreamNews;
  /** Nothing new can be read before what is open is settled. */
  readonly isPressed: () => boolean;
  readonly log: Logger;
};

/** What an answer of the upstream means: for the batch, for what is sent next, for the state that people see. */
export class Answers {
  readonly #deps: AnswersDeps;
  #seen: Seen = { begun: 0, delivered: 0, accepted: 0 };
  /** Doubtful refusals since the last delivery. */
  #doubts = 0;
  #isDoubted = false;
  readonly #failures: FailedBatches;
  readonly #traceRefusals: TraceRefusals;

  constructor(deps: AnswersDeps) {
    this.#deps = deps;
    this.#traceRefusals = new TraceRefusals(deps);
    this.#failures = new FailedBatches({
      ...deps,
      giveUp: (consignment, refusal) => this.#giveUp(consignment, refusal),
    });
  }

  get seen(): Seen {
    return this.#seen;
  }

  /** A request begins. @returns its number */
  begin(): number {
    const begun = this.#seen.begun + 1;
    this.#seen = { ...this.#seen, begun };
    return begun;
  }

  /** The upstream counts as failed for what it has said of spans. */
  get isDoubted(): boolean {
    return this.#isDoubted;
  }

  /**
   * @param about.ms how long it took
   * @param about.isOfLong it is a part of a large trace, which tells nothing of how fast the upstream is with others
   */
  toBatch(
    consignment: Consignment,
    ticket: Ticket,
    outcome: SendOutcome,
    about: { readonly number: number; readonly ms: number; readonly isOfLong: boolean },
  ): void {
    // What began later was taken: it is this batch that is too much, and not the upstream that is away.
    const isAlive = this.#seen.accepted > about.number;
    if (!about.isOfLong) this.#resize(consignment, outcome, about.ms, isAlive);
    this.#traceRefusals.answered(consignment, outcome);
    const isFailed = outcome.kind !== 'delivered' && outcome.kind !== 'refused';
    this.#failures.heard(consignment, isFailed);
    if (outcome.kind === 'delivered') this.#delivered(consignment, ticket, outcome, about);
    else if (isTraceRefusal(outcome)) this.#refusedTraces(consignment, ticket, outcome);
    else if (outcome.kind === 'refused') this.#refused(consignment, ticket, outcome);
    else {
      const { begun } = this.#seen;
      this.#failures.failed(consignment, ticket, { ...about, failure: outcome, begun, isAlive });
    }
    this.#endSearches();
  }

  /**
   * Nothing more is read until the oldest records are settled, and these wait for a search that others must not wait for:
   * what of it is not known becomes dead letters.
   */
  giveUpSearches(): void {
    const { outbox } = this.#deps;
    for (const sender of outbox.proven) {
      for (const isolation of outbox.searchesOf(sender)) this.#apply(isolation.giveUp());
    }
    this.#endSearches();
  }

  /** To a probe for an isolation. What takes not even nothing is set up wrong, whatever it says of it. */
  toQuestion(target: ResolvedTarget, ticket: Ticket, outcome: SendOutcome, number: number): void {
    if (outcome.kind === 'delivered') {
      this.#accepted(number);
      this.#deps.news.answered(ticket, 0);
      return;
    }
    const failure =
      outcome.kind === 'refused' ? { kind: 'blocked' as const, reason: outcome.reason } : outcome;
    this.#deps.news.fell(target, ticket, failure);
  }

  /** To a probe of an upstream that is down. What comes of it is said only then: that it is up, batches have to tell. */
  toProbe(outcome: SendOutcome, number: number): void {
    const { pacing } = this.#deps;
    const now = performance.now();
    if (outcome.kind === 'delivered') this.#accepted(number);
    if (outcome.kind === 'delivered' || outcome.kind === 'refused') {
      pacing.probeAnswered(now);
      return;
    }
    const { condition, after } = failureOf(outcome);
    pacing.probeFailed(condition, now, after);
    this.#deps.news.tellDown(outcome.reason, now);
  }

  #resize({ batch, bytes }: Consignment, outcome: SendOutcome, ms: number, isAlive: boolean): void {
    const { sizing } = this.#deps;
    const size = { spans: batch.spanCount, bytes };
    if (outcome.kind === 'delivered') sizing.answered({ ...size, ms });
    else if (outcome.kind === 'retry' && outcome.tooSlow === true && isAlive) sizing.tooSlow(size);
    else if (outcome.kind === 'refused' && outcome.status === CONTENT_TOO_LARGE) sizing.tooLarge(size);
  }

  #delivered(
    consignment: Consignment,
    ticket: Ticket,
    outcome: Delivered,
    { number, isOfLong }: { readonly number: number; readonly isOfLong: boolean },
  ): void {
    const { batch, isolation, attempts } = consignment;
    this.#accepted(number);
    this.#seen = { ...this.#seen, delivered: Math.max(this.#seen.delivered, number) };
    this.#doubts = 0;
    this.#isDoubted = false;
    this.#failures.stored(consignment, number);
    if (consignment.halving?.taken() === true && !isOfLong)
      this.#deps.sizing.tooMuch(consignment.halving.size);
    this.#deps.news.answered(ticket, isOfLong ? 0 : batch.spanCount);
    const piece = { batch, attempts };
    if (isolation === undefined) this.#deps.settlement.delivered(piece, outcome);
    else this.#apply(isolation.delivered(piece, outcome));
  }

  #refusedTraces(consignment: Consignment, ticket: Ticket, refusal: TraceRefusal): void {
    const { batch, isolation } = consignment;
    this.#deps.news.answered(ticket, 0);
    const known = isolation?.leave(batch);
    if (known !== undefined) this.#apply([known]);
    else this.#traceRefusals.refused(consignment, refusal);
  }

  /** A refusal of these bytes. What several have sent goes again by sender, so that no other waits for the search. */
  #refused(consignment: Consignment, ticket: Ticket, refusal: Refusal): void {
    const { batch, isolation } = consignment;
    const halves = isolation === undefined ? halveBySender(batch) : undefined;
    if (halves === undefined) {
      this.#search(consignment, ticket, refusal);
    } else {
      this.#deps.outbox.part(halves, consignment);
      this.#answeredRefusal(batch, ticket, refusal, false);
    }
  }

  #search(consignment: Consignment, ticket: Ticket, refusal: Refusal): void {
    const { attempts, isolation } = consignment;
    const { outbox, destination } = this.#deps;
    // What others have sent of its traces must not wait for the search.
    const batch = isolation === undefined ? outbox.release(consignment.batch) : consignment.batch;
    const begun = isolation ?? new Isolation<Lease>(refusal, this.#seen, destination.probe !== undefined);
    const isAnew = isolation === undefined || refusal.unstorable !== undefined;
    const mended = isAnew ? mend(batch, refusal, this.#deps) : undefined;
    const about = { now: performance.now(), seen: this.#seen, mended };
    const verdicts = begun.refused({ batch, attempts }, refusal, about);
    const [sender = ''] = sendersOf(batch);
    if (isolation === undefined) outbox.isolate(sender, begun);
    if (mended === undefined) outbox.refused(sender, about.now);
    const isKnown = verdicts.some(({ kind }) => kind === 'guilty');
    this.#answeredRefusal(batch, ticket, refusal, isKnown);
    this.#apply(verdicts);
  }

  /**
   * Decides whether the upstream is at fault. It is once it has refused everything for long in a way that it also uses for
   * faults of its own. Then there are pauses between requests, and the search goes on in them, to tell whose fault it is.
   * Refusals of a sender that is apart are no evidence: the answers to the others are.
   */
  #answeredRefusal(batch: Batch<Lease>, ticket: Ticket, refusal: Refusal, isKnown: boolean): void {
    const isApart = this.#failures.areApart(sendersOf(batch));
    this.#isDoubted = refusal.doubtful === true && !isKnown && !isApart && ++this.#doubts > MOST_DOUBTS;
    if (this.#isDoubted) {
      const kind = (refusal.status ?? 0) >= 500 ? 'retry' : 'blocked';
      const reason = `${refusal.reason}; whatever is sent is answered like this, so that no span is to blame: see to the upstream`;
      this.#deps.news.fell(batch.target, ticket, { kind, reason });
    } else {
      this.#deps.news.answered(ticket, 0);
    }
  }

  /** It fails for good in a way that usually passes. */
  #giveUp({ batch, attempts, isolation }: Consignment, refusal: Refusal): void {
    const piece = { batch, attempts };
    if (isolation === undefined) this.#deps.settlement.guilty([{ piece, refusal }]);
    else this.#apply(isolation.refused(piece, refusal, { now: performance.now(), seen: this.#seen }));
  }

  #accepted(number: number): void {
    this.#seen = { ...this.#seen, accepted: Math.max(this.#seen.accepted, number) };
  }

  #endSearches(): void {
    for (const verdicts of this.#deps.outbox.takeIsolated()) this.#apply(verdicts);
  }

  #apply(verdicts: readonly Verdict<Lease>[]): void {
    const { settlement, outbox } = this.#deps;
    for (const verdict of verdicts) {
      if (verdict.kind === 'guilty') {
        for (const { piece } of verdict.spans)
          for (const sender of sendersOf(piece.batch)) outbox.isGuilty(sender);
        settlement.guilty(verdict.spans);
      } else settlement.delivered(verdict.piece, verdict.outcome);
    }
  }
}
