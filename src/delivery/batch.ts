import type { ResolvedTarget } from '../destinations/destination.ts';
import type { TraceId } from '../otlp/record.ts';
import type { LinkedList } from './linked-list.ts';
import { Part } from './part.ts';
import type { HeldRecord } from './part.ts';

/** What the bookkeeping weighs in memory, about, in bytes: small spans must not slip past the window's limit. */
const RECORD_WEIGHT = 512;
const SPAN_WEIGHT = 192;
/** Of the spans of one trace in one record. */
const PIECE_WEIGHT = 448;

/** One request's worth of whole traces (or of a part of one that is larger than a request) for one target. */
export type Batch<H> = {
  readonly target: ResolvedTarget;
  /** Joined, they are one request. */
  readonly parts: readonly Part<H>[];
  /** How many spans of which trace. */
  readonly traces: ReadonlyMap<TraceId, number>;
  readonly spanCount: number;
  /** Its traces are busy only while it is in a request, and not until it is settled. */
  readonly isReleased?: true;
};

/** Who has sent its spans. */
export function sendersOf({ parts }: Batch<unknown>): Set<string> {
  return new Set(parts.map(({ held }) => held.sender));
}

/** What enters the window, before any of its spans goes. */
export function holdRecord<H>(
  { handle, sender, payload, spans }: Pick<HeldRecord<H>, 'handle' | 'sender' | 'payload' | 'spans'>,
  order: number,
): HeldRecord<H> {
  const spanBytes = spans.reduce((sum, span) => sum + span.bytes, 0);
  const envelope = payload.byteLength - spanBytes;
  const none = { pieces: 0, weight: 0, others: undefined, ends: undefined };
  return { handle, sender, payload, spans, envelope, order, open: spans.length, ...none };
}

/** What it weighs in memory, with the bookkeeping. */
export function weightOf(held: HeldRecord<unknown>): number {
  const { payload, spans, pieces } = held;
  return payload.byteLength + RECORD_WEIGHT + spans.length * SPAN_WEIGHT + pieces * PIECE_WEIGHT;
}

/** The spans of one trace in one record, from `from` on; those before it have gone. */
export type Piece<H> = { readonly held: HeldRecord<H>; readonly spanIndexes: number[]; from: number };

export type BatchLimits = {
  readonly maxBatchSpans: number;
  /** Bytes of the request, before compression. */
  readonly maxBatchSize: number;
};

/** Share of a request that the envelope of its first record counts for at most. */
const MOST_ENVELOPE = 1 / 2;

/**
 * A batch while spans are chosen for it. Its size is counted from above: a record of which some spans are taken
 * costs its whole envelope once, though the cut may need less of it. A large envelope leaves room for as many spans as
 * fit into the rest of a request, which then goes over its limit: if they went one by one, each would take it along.
 */
export class BatchDraft<H> {
  readonly #limits: BatchLimits;
  readonly #traces = new Map<TraceId, number>();
  readonly #chosen = new Map<HeldRecord<H>, number[]>();
  #spans = 0;
  /** As they count for the limit. */
  #bytes = 0;
  #size = 0;

  constructor(limits: BatchLimits) {
    this.#limits = limits;
  }

  get isEmpty(): boolean {
    return this.#spans === 0;
  }

  get isFull(): boolean {
    return this.#spans >= this.#limits.maxBatchSpans || this.#bytes >= this.#limits.maxBatchSize;
  }

  /** Bytes of what was chosen, at most. */
  get size(): number {
    return this.#size;
  }

  /** How many spans, from the front, still fit; at least one where nothing was chosen yet. */
  roomFor(pieces: LinkedList<Piece<H>>): number {
    let spans = this.#spans;
    let bytes = this.#bytes;
    let isFirst = this.#chosen.size === 0;
    for (let link = pieces.first; link !== undefined; link = link.after) {
      const { held, spanIndexes, from } = link.value;
      if (!this.#chosen.has(held)) bytes += this.#counted(held, isFirst);
      isFirst = false;
      for (let at = from; at < spanIndexes.length; at++) {
        bytes += sizeOf(held, spanIndexes[at]);
        const fits = spans < this.#limits.maxBatchSpans && bytes <= this.#limits.maxBatchSize;
        if (!fits && spans > 0) return spans - this.#spans;
        spans++;
      }
    }
    return spans - this.#spans;
  }

  /** Moves `count` spans of the trace, in their order, from `pieces` into the batch; returns their bytes. */
  move(traceId: TraceId, pieces: LinkedList<Piece<H>>, count: number): number {
    let moved = 0;
    this.#traces.set(traceId, count);
    this.#spans += count;
    for (let left = count; left > 0;) {
      const piece = pieces.first?.value;
      if (piece === undefined) throw new Error(`trace ${traceId} has fewer spans than were chosen`);
      const { held, spanIndexes } = piece;
      let chosen = this.#chosen.get(held);
      if (chosen === undefined) {
        chosen = [];
        this.#bytes += this.#counted(held, this.#chosen.size === 0);
        this.#size += held.envelope;
        this.#chosen.set(held, chosen);
      }
      for (; left > 0 && piece.from < spanIndexes.length; left--) {
        const spanIndex = spanIndexes[piece.from++] as number;
        chosen.push(spanIndex);
        moved += sizeOf(held, spanIndex);
      }
      if (piece.from === spanIndexes.length) pieces.shift();
    }
    this.#bytes += moved;
    this.#size += moved;
    return moved;
  }

  #counted({ envelope }: HeldRecord<H>, isFirst: boolean): number {
    return isFirst ? Math.min(envelope, this.#limits.maxBatchSize * MOST_ENVELOPE) : envelope;
  }

  /** The batch, oldest record first. */
  finish(target: ResolvedTarget): Batch<H> {
    const chosen = [...this.#chosen].toSorted(([a], [b]) => a.order - b.order);
    const parts = chosen.map(([held, indexes]) => {
      const spanIndexes = indexes.toSorted((a, b) => a - b);
      return new Part(held, spanIndexes);
    });
    return { target, parts, traces: this.#traces, spanCount: this.#spans };
  }
}

function sizeOf(held: HeldRecord<unknown>, spanIndex: number | undefined): number {
  return held.spans[spanIndex as number]?.bytes ?? 0;
}
