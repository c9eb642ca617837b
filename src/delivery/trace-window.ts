import type { ResolvedTarget } from '../destinations/destination.ts';
import type { TraceId } from '../otlp/record.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import { BatchDraft, holdRecord, weightOf } from './batch.ts';
import type { Batch, BatchLimits } from './batch.ts';
import type { Gathering } from './gathering.ts';
import { Gatherings } from './gatherings.ts';
import { LinkedList } from './linked-list.ts';
import { OutTraces } from './out-traces.ts';
import type { HeldRecord } from './part.ts';
import { ReadyTraces } from './ready-traces.ts';
import { RecentRoots } from './recent-roots.ts';
import { SenderWeights } from './sender-weights.ts';
import type { SpanRef } from './span-copies.ts';

export type WindowLimits = BatchLimits & {
  /** How long a trace waits for its root span after its first span was received, in ms. */
  readonly traceWaitMs: number;
  /** Bytes of records that are not settled, from which on the window is full. */
  readonly windowSize: number;
};

/** A record to be put into the window, or a part of one. It has at least one span. */
export type WindowEntry<H> = {
  readonly handle: H;
  readonly sender: string;
  readonly target: ResolvedTarget;
  readonly payload: Uint8Array;
  /** As `indexSpans` gives them. */
  readonly spans: readonly SpanSlice[];
  /** Milliseconds since the Unix epoch. */
  readonly receivedAt: number;
  /** Records that came after it are in the window already: its time says nothing of the clock. */
  readonly isBehind?: boolean;
};

/** How a span has left the window. */
export type End = 'delivered' | 'dead letter';

export type Settled<H> = {
  /** Of the records of which no span is left. */
  readonly handles: readonly H[];
  /** Copies that were settled with another one. */
  readonly superseded: readonly SpanRef<H>[];
};

/**
 * The spans of the records that are not settled, gathered by trace, and the batches made of them.
 *
 * A trace is ready when its root was added, or when event time (the latest `receivedAt` that was added) has passed
 * its first `receivedAt` by the wait, or, where all there is was added, when the clock has. So a backlog is grouped
 * like live traffic. What comes of a trace shortly after its root is ready at once. In a full window the oldest
 * incomplete traces are made ready too: memory is bounded and things move. A trace of which a batch is out is in no
 * other batch, whatever its target, until those spans are settled.
 *
 * Reads no clock and does no I/O; every call costs what it moves, not what waits.
 */
export class TraceWindow<H> {
  readonly #limits: WindowLimits;
  #batchLimits: BatchLimits;
  readonly #waiting = new LinkedList<Gathering<H>>();
  readonly #ready = new ReadyTraces<Gathering<H>>();
  /** Traces in a batch, and the gatherings that wait for those. */
  readonly #out = new OutTraces<Gathering<H>, H>();
  readonly #gatherings = new Gatherings<H>({ waiting: this.#waiting, ready: this.#ready, out: this.#out });
  readonly #roots: RecentRoots;
  readonly #weights = new SenderWeights();
  #records = 0;
  #eventTime = Number.NEGATIVE_INFINITY;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
    this.#batchLimits = limits;
    this.#roots = new RecentRoots(limits.traceWaitMs);
  }

  /** Weight of the records that are not settled: whole payloads, since a slice pins its buffer, and bookkeeping. */
  get bytes(): number {
    return this.#weights.total;
  }

  /**
   * Nothing more should be added. One record is taken into an empty window, whatever its size. Where senders that are apart
   * have filled the window, others may have half as much again.
   */
  get isFull(): boolean {
    const apart = Math.min(this.#weights.ofAll(this.#ready.apart), this.#limits.windowSize / 2);
    return this.#weights.total - apart >= this.#limits.windowSize;
  }

  get isHalfFull(): boolean {
    return this.#weights.total >= this.#limits.windowSize / 2;
  }

  /** The part of `bytes` that is of this sender. */
  bytesOf(sender: string): number {
    return this.#weights.of(sender);
  }

  /** A whole request's worth of ready traces waits, without those of senders that are apart. */
  get hasFullBatch(): boolean {
    return this.#ready.isWorth(this.#batchLimits);
  }

  /** From now on ready traces of this sender go only when they are taken by its name; or no longer so. */
  setApart(sender: string, isApart: boolean): void {
    this.#ready.setApart(sender, isApart);
  }

  /** From the next batch on, in place of the limits it was made with. */
  limitBatches(limits: BatchLimits): void {
    this.#batchLimits = limits;
  }

  add(entry: WindowEntry<H>): void {
    const { sender, target, spans, receivedAt, isBehind = false } = entry;
    if (spans.length === 0) throw new Error('a record without spans would stay in the window for ever');
    const held = holdRecord(entry, this.#records++);
    // Far behind what was read before means that the clock was set back; requests that overtook each other are not.
    const clockWentBack = !isBehind && receivedAt < this.#eventTime - this.#limits.traceWaitMs;
    this.#eventTime = clockWentBack ? receivedAt : Math.max(this.#eventTime, receivedAt);
    const arrival = this.#gatherings.arrivalOf(target, held, receivedAt);
    for (const [spanIndex, span] of spans.entries()) {
      const gathering = this.#gatherings.add(arrival, spanIndex, span);
      const isComplete = this.#isComplete(target, span, gathering);
      if (!isComplete) continue;
      // What its sender has sent of the trace before it was apart, or while it was, waits by itself.
      const { shared, own } = arrival.trace!;
      for (const here of span.isRoot ? [shared, own] : [gathering])
        if (here?.place === 'waiting') this.#makeReady(here);
    }
    held.weight = weightOf(held);
    this.#weights.add(sender, held.weight);
  }

  /**
   * The next batch: whole ready traces of one target, those of a sender oldest first, within the limits. A trace larger
   * than a request goes part by part, in order. A single span over the size limit goes alone. Targets take turns, and
   * senders do. The traces in it are busy until their spans are settled. `undefined`: nothing is ready.
   *
   * @param at.now milliseconds since the Unix epoch
   * @param at.atTail all that could be added was added, so that waiting by the clock is fair
   * @param at.isStuck nothing is added until the oldest records are settled: as in a full window
   * @param at.only what is ready of this sender, which is apart; without it, of all that are not
   */
  take(at: {
    readonly now: number;
    readonly atTail: boolean;
    readonly isStuck?: boolean;
    readonly only?: string | undefined;
  }): Batch<H> | undefined {
    for (;;) {
      this.#ripen(at.now, at.atTail, this.isFull || at.isStuck === true);
      // All at first: those that had their turn come again at the end.
      const targets = [...this.#ready.targets(at.only)];
      if (targets.length === 0) return undefined;
      for (const target of targets) {
        const draft = this.#fill(target, at.only);
        this.#ready.endTurn(target);
        if (draft.isEmpty) continue;
        const batch = draft.finish(target);
        this.#out.went(batch);
        return batch;
      }
      // All that was ready turned out to be busy, and is ready no more: others may be made ready in its place.
    }
  }

  /**
   * Every span of a batch, or of a piece of one, is settled. Frees the traces of which no span is out any more. Copies of
   * these spans are settled with them, or go next. Once for each span.
   */
  settle(batch: Batch<H>, end: End): Settled<H> {
    if (batch.isReleased !== true) this.vacate(batch);
    this.#out.settle(batch);
    const handles: H[] = [];
    const superseded: SpanRef<H>[] = [];
    for (const { held, spanIndexes } of batch.parts) {
      this.#close(held, spanIndexes.length, handles);
      if (held.others === undefined) continue;
      for (const spanIndex of spanIndexes) {
        const left = { held, spanIndex };
        const after = this.#gatherings.succeed(left, batch.target, end === 'delivered', this.#eventTime);
        // It has waited already.
        if (after.next?.place === 'waiting') this.#makeReady(after.next);
        for (const copy of after.superseded) {
          superseded.push(copy);
          this.#close(copy.held, 1, handles);
        }
      }
    }
    return { handles, superseded };
  }

  #close(held: HeldRecord<H>, spans: number, settled: H[]): void {
    held.open -= spans;
    if (held.open > 0) return;
    this.#weights.add(held.sender, -held.weight);
    settled.push(held.handle);
  }

  /**
   * Frees the traces of a refused batch that is going to be searched piece by piece, since that may take long. From now on
   * they are busy by it only while a piece is in a request, which `occupy` and `vacate` tell. A piece that has left one
   * search may come to another.
   */
  release(batch: Batch<H>): Batch<H> {
    if (batch.isReleased === true) return batch;
    this.vacate(batch);
    return { ...batch, isReleased: true };
  }

  /** Whether no trace of a released batch is busy. */
  isFree({ traces }: Batch<H>): boolean {
    return !this.#out.isAnyBusy(traces);
  }

  occupy({ traces }: Batch<H>): void {
    this.#out.occupy(traces);
  }

  vacate({ traces }: Pick<Batch<H>, 'traces'>): void {
    // At the back: one trace without end must not keep the others from their turn.
    for (const gathering of this.#out.vacate(traces)) this.#makeReady(gathering);
  }

  /** The spans of a trace that wait until those that are out are settled. */
  parkedSpans(traceId: TraceId): number {
    return this.#out.parked(traceId).reduce((sum, { spans }) => sum + spans, 0);
  }

  /** When a trace becomes ready by waiting at the tail, in ms since the Unix epoch; undefined if none waits. */
  nextReadyAt(): number | undefined {
    const first = this.#waiting.first?.value;
    return first && first.firstReceivedAt + this.#limits.traceWaitMs;
  }

  /** Whether the root of a trace was seen, now or a short time ago. */
  #isComplete({ key }: ResolvedTarget, { traceId, isRoot }: SpanSlice, gathering?: Gathering<H>): boolean {
    if (isRoot) this.#roots.add(key, traceId, this.#eventTime);
    return isRoot || (gathering?.spans === 1 && this.#roots.has(key, traceId, this.#eventTime));
  }

  /** Makes ready what has waited long enough, and in a full window enough of the oldest for a whole batch. */
  #ripen(now: number, atTail: boolean, isFull: boolean): void {
    const { traceWaitMs } = this.#limits;
    for (let link = this.#waiting.first; link !== undefined; link = this.#waiting.first) {
      const since = link.value.firstReceivedAt;
      const isDue =
        this.#eventTime >= since + traceWaitMs ||
        // Received in the future: the clock was set back, and would take as long again to come round.
        (atTail && (now >= since + traceWaitMs || now < since)) ||
        (isFull && !this.hasFullBatch);
      if (!isDue) return;
      this.#makeReady(link.value);
    }
  }

  #makeReady(gathering: Gathering<H>): void {
    if (gathering.link !== undefined) this.#waiting.remove(gathering.link);
    gathering.link = undefined;
    if (this.#out.park(gathering.traceId, gathering)) {
      gathering.place = 'parked';
      return;
    }
    gathering.place = 'ready';
    this.#ready.add(gathering);
  }

  #fill(target: ResolvedTarget, only: string | undefined): BatchDraft<H> {
    const draft = new BatchDraft<H>(this.#batchLimits);
    while (!draft.isFull) {
      const gathering = this.#ready.first(target, only);
      if (gathering === undefined) break;
      // Busy, though it was not when it became ready: the trace has gone to another target since.
      const isBusy = this.#out.isBusy(gathering.traceId);
      const count = isBusy ? 0 : draft.roomFor(gathering.pieces);
      const isWhole = count === gathering.spans;
      if (!isWhole && !isBusy && !draft.isEmpty) break;

      this.#ready.take(target, only);
      if (isBusy) {
        this.#makeReady(gathering);
        continue;
      }
      this.#out.go(gathering.traceId, count);
      const before = draft.size;
      gathering.moveTo(draft, count);
      this.#ready.sent(target, gathering.sender, draft.size - before);
      if (isWhole) {
        this.#gatherings.remove(gathering);
      } else {
        // Larger than a request: the rest waits until this part is settled.
        this.#makeReady(gathering);
        break;
      }
    }
    return draft;
  }
}
