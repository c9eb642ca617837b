import type { ResolvedTarget } from '../destinations/destination.ts';
import type { TraceId } from '../otlp/record.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import { BatchDraft, weightOf } from './batch.ts';
import type { Batch, BatchLimits, HeldRecord, Piece } from './batch.ts';
import { LinkedList } from './linked-list.ts';
import type { Link } from './linked-list.ts';
import { RecentRoots } from './recent-roots.ts';

export type WindowLimits = BatchLimits & {
  /** How long a trace waits for its root span after its first span was received, in ms. */
  readonly traceWaitMs: number;
  /** Bytes of records that are not settled, from which on the window is full. */
  readonly windowSize: number;
};

/** A record to be put into the window. It has at least one span. */
export type WindowEntry<H> = {
  readonly handle: H;
  readonly target: ResolvedTarget;
  readonly payload: Uint8Array;
  /** As `indexSpans` gives them. */
  readonly spans: readonly SpanSlice[];
  /** Milliseconds since the Unix epoch. */
  readonly receivedAt: number;
};

/** The spans of one trace for one target that have not gone yet. */
type Gathering<H> = {
  readonly traceId: TraceId;
  readonly line: TargetLine<H>;
  readonly firstReceivedAt: number;
  readonly pieces: LinkedList<Piece<H>>;
  spans: number;
  bytes: number;
  /** waiting for its root; ready; or ready and held back, because the trace is in a batch. */
  place: 'waiting' | 'ready' | 'parked';
  /** Its place among the waiting. */
  link: Link<Gathering<H>> | undefined;
};

type TargetLine<H> = {
  readonly target: ResolvedTarget;
  readonly gatherings: Map<TraceId, Gathering<H>>;
  readonly ready: LinkedList<Gathering<H>>;
};

/**
 * The spans of the records that are not settled, gathered by trace, and the batches made of them.
 *
 * A trace is ready when its root was added, or when event time (the latest `receivedAt` that was added) has passed
 * its first `receivedAt` by the wait, or, where all there is was added, when the clock has. So a backlog is grouped
 * like live traffic. What comes of a trace shortly after its root is ready at once. In a full window the oldest
 * incomplete traces are made ready too: memory is bounded and things move. A trace of which a batch is out is in no other batch, whatever its target, until those spans are settled.
 *
 * Reads no clock and does no I/O; every call costs what it moves, not what waits.
 */
export class TraceWindow<H> {
  readonly #limits: WindowLimits;
  #batchLimits: BatchLimits;
  readonly #lines = new Map<string, TargetLine<H>>();
  readonly #waiting = new LinkedList<Gathering<H>>();
  /** Lines with a ready trace; the first has the next turn. */
  readonly #readyLines = new Set<TargetLine<H>>();
  /** Traces in a batch: how many spans of them, and the gatherings that wait until those are settled. */
  readonly #busy = new Map<TraceId, { out: number; readonly parked: Gathering<H>[] }>();
  readonly #roots: RecentRoots;
  #readySpans = 0;
  #readyBytes = 0;
  #weight = 0;
  #records = 0;
  #eventTime = Number.NEGATIVE_INFINITY;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
    this.#batchLimits = limits;
    this.#roots = new RecentRoots(limits.traceWaitMs);
  }

  /** Weight of the records that are not settled: whole payloads, since a slice pins its buffer, and bookkeeping. */
  get bytes(): number {
    return this.#weight;
  }

  /** Nothing more should be added. One record is taken into an empty window, whatever its size. */
  get isFull(): boolean {
    return this.#weight >= this.#limits.windowSize;
  }

  /** A whole request's worth of ready traces waits. */
  get hasFullBatch(): boolean {
    const { maxBatchSpans, maxBatchSize } = this.#batchLimits;
    return this.#readySpans >= maxBatchSpans || this.#readyBytes >= maxBatchSize;
  }

  /** From the next batch on, in place of the limits it was made with. */
  limitBatches(limits: BatchLimits): void {
    this.#batchLimits = limits;
  }

  add(entry: WindowEntry<H>): void {
    const { handle, target, payload, spans, receivedAt } = entry;
    if (spans.length === 0) throw new Error('a record without spans would stay in the window for ever');
    const spanBytes = spans.reduce((sum, span) => sum + span.bytes, 0);
    const held = {
      handle,
      payload,
      spans,
      envelope: payload.byteLength - spanBytes,
      order: this.#records++,
      open: spans.length,
      pieces: 0,
    };
    // Far behind what was read before means that the clock was set back; requests that overtook each other are not.
    const clockWentBack = receivedAt < this.#eventTime - this.#limits.traceWaitMs;
    this.#eventTime = clockWentBack ? receivedAt : Math.max(this.#eventTime, receivedAt);
    const line = this.#lineOf(target);
    for (const [spanIndex, span] of spans.entries()) this.#gather(line, held, spanIndex, span, receivedAt);
    this.#weight += weightOf(held);
  }

  /**
   * The next batch: whole ready traces of one target, oldest first, within the limits. A trace larger than a request
   * goes part by part, in order. A single span over the size limit goes alone. Targets take turns.
   * The traces in it are busy until their spans are settled. `undefined`: nothing is ready.
   *
   * @param at.now milliseconds since the Unix epoch
   * @param at.atTail all that could be added was added, so that waiting by the clock is fair
   * @param at.isStuck nothing is added until the oldest records are settled: as in a full window
   */
  take(at: {
    readonly now: number;
    readonly atTail: boolean;
    readonly isStuck?: boolean;
  }): Batch<H> | undefined {
    this.#ripen(at.now, at.atTail, this.isFull || at.isStuck === true);
    for (const line of this.#readyLines) {
      const draft = this.#fill(line);
      // Off the set and on again: its next turn comes after those of the others.
      this.#readyLines.delete(line);
      if (line.ready.first !== undefined) this.#readyLines.add(line);
      if (!draft.isEmpty) return draft.finish(line.target);
    }
    return undefined;
  }

  /**
   * Every span of a batch, or of a piece of one, is settled. Frees the traces of which no span is out any more, and
   * returns the handles of the records of which no span is left, oldest first. Once for each span.
   */
  settle({ traces, parts }: Batch<H>): H[] {
    for (const [traceId, spans] of traces) {
      const busy = this.#busy.get(traceId);
      if (busy === undefined) throw new Error(`trace ${traceId} is not out`);
      busy.out -= spans;
      if (busy.out > 0) continue;
      this.#busy.delete(traceId);
      // At the back: one trace without end must not keep the others from their turn.
      for (const gathering of busy.parked) this.#makeReady(gathering);
    }
    const settled: H[] = [];
    for (const { held, spanIndexes } of parts) {
      held.open -= spanIndexes.length;
      if (held.open > 0) continue;
      this.#weight -= weightOf(held);
      settled.push(held.handle);
    }
    return settled;
  }

  /** When a trace becomes ready by waiting at the tail, in ms since the Unix epoch; undefined if none waits. */
  nextReadyAt(): number | undefined {
    const first = this.#waiting.first?.value;
    return first && first.firstReceivedAt + this.#limits.traceWaitMs;
  }

  #lineOf(target: ResolvedTarget): TargetLine<H> {
    let line = this.#lines.get(target.key);
    if (line === undefined) {
      line = { target, gatherings: new Map(), ready: new LinkedList() };
      this.#lines.set(target.key, line);
    }
    return line;
  }

  #gather(
    line: TargetLine<H>,
    held: HeldRecord<H>,
    spanIndex: number,
    span: SpanSlice,
    receivedAt: number,
  ): void {
    let gathering = line.gatherings.get(span.traceId);
    let isComplete = span.isRoot;
    if (gathering === undefined) {
      isComplete ||= this.#roots.has(line.target.key, span.traceId, this.#eventTime);
      gathering = {
        traceId: span.traceId,
        line,
        firstReceivedAt: receivedAt,
        pieces: new LinkedList(),
        spans: 0,
        bytes: 0,
        place: 'waiting',
        link: undefined,
      };
      gathering.link = this.#waiting.push(gathering);
      line.gatherings.set(span.traceId, gathering);
    }
    const last = gathering.pieces.last?.value;
    if (last?.held === held) {
      last.spanIndexes.push(spanIndex);
    } else {
      gathering.pieces.push({ held, spanIndexes: [spanIndex], from: 0 });
      held.pieces++;
    }
    gathering.spans++;
    gathering.bytes += span.bytes;
    if (span.isRoot) this.#roots.add(line.target.key, span.traceId, this.#eventTime);
    if (gathering.place === 'ready') {
      this.#readySpans++;
      this.#readyBytes += span.bytes;
    } else if (gathering.place === 'waiting' && isComplete) {
      this.#makeReady(gathering);
    }
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
    const busy = this.#busy.get(gathering.traceId);
    if (busy !== undefined) {
      gathering.place = 'parked';
      busy.parked.push(gathering);
      return;
    }
    gathering.place = 'ready';
    gathering.line.ready.push(gathering);
    this.#readyLines.add(gathering.line);
    this.#readySpans += gathering.spans;
    this.#readyBytes += gathering.bytes;
  }

  #fill(line: TargetLine<H>): BatchDraft<H> {
    const draft = new BatchDraft<H>(this.#batchLimits);
    while (!draft.isFull) {
      const gathering = line.ready.first?.value;
      if (gathering === undefined) break;
      // Busy, though it was not when it became ready: the trace has gone to another target since.
      const isBusy = this.#busy.has(gathering.traceId);
      const count = isBusy ? 0 : draft.roomFor(gathering.pieces);
      const isWhole = count === gathering.spans;
      if (!isWhole && !isBusy && !draft.isEmpty) break;

      line.ready.shift();
      this.#readySpans -= gathering.spans;
      this.#readyBytes -= gathering.bytes;
      if (isBusy) {
        this.#makeReady(gathering);
        continue;
      }
      this.#busy.set(gathering.traceId, { out: count, parked: [] });
      gathering.bytes -= draft.move(gathering.traceId, gathering.pieces, count);
      gathering.spans -= count;
      if (isWhole) {
        this.#forget(gathering);
      } else {
        // Larger than a request: the rest waits until this part is settled.
        this.#makeReady(gathering);
        break;
      }
    }
    return draft;
  }

  #forget({ line, traceId }: Gathering<H>): void {
    line.gatherings.delete(traceId);
    if (line.gatherings.size === 0) this.#lines.delete(line.target.key);
  }
}
