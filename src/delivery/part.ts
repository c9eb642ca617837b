import { MOST_REPAIR_WORK } from '../destinations/destination.ts';
import type { Repair, RepairWork } from '../destinations/destination.ts';
import { cutSpans } from '../otlp/wire.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import type { SpanRef } from './span-copies.ts';

/** A record in the window, until all of its spans are settled. */
export type HeldRecord<H> = {
  readonly handle: H;
  readonly sender: string;
  readonly payload: Uint8Array;
  readonly spans: readonly SpanSlice[];
  /** Bytes of the payload that are not spans: resources, scopes, framing. */
  readonly envelope: number;
  /** Its place in the order of arrival. */
  readonly order: number;
  /** Spans that are not settled. */
  open: number;
  /** Of how many traces it has spans. */
  pieces: number;
  /** What it weighs in the window. */
  weight: number;
  /** Copies that wait for what becomes of a span of it, by the position of that. */
  others: Map<number, SpanRef<H>[]> | undefined;
  /** Where its spans end, once that was asked. */
  ends: Uint32Array | undefined;
};

/** Spans of a record as they came; the record itself where that is all of them: no copy, not a byte changed. */
export function cutOf(held: HeldRecord<unknown>, spanIndexes: readonly number[]): Uint8Array {
  if (spanIndexes.length === held.spans.length) return held.payload;
  const keep = new Uint8Array(held.spans.length);
  for (const spanIndex of spanIndexes) keep[spanIndex] = 1;
  return cutSpans(held.payload, (spanIndex) => keep[spanIndex] === 1);
}

export type RepairSpans = (payload: Uint8Array, work: RepairWork) => Repair | undefined;

/**
 * Spans of one record: an ExportTraceServiceRequest by itself. It has no bytes of its own: they are made when it is sent,
 * since many parts of one record may wait, each with all that is around its spans.
 */
export class Part<H> {
  readonly held: HeldRecord<H>;
  /** Their positions in the record, ascending. */
  readonly spanIndexes: readonly number[];
  readonly #repair: RepairSpans | undefined;
  #mended: ReadonlyMap<number, string> | undefined;

  /** @param repair what the destination mends in it each time it is sent; pure */
  constructor(
    held: HeldRecord<H>,
    spanIndexes: readonly number[],
    repair?: RepairSpans,
    mended?: ReadonlyMap<number, string>,
  ) {
    this.held = held;
    this.spanIndexes = spanIndexes;
    this.#repair = repair;
    this.#mended = mended;
  }

  /** What the destination has done to spans, by position in the payload; undefined: they are as they came. */
  get mended(): ReadonlyMap<number, string> | undefined {
    return this.#mended;
  }

  /** What is sent, made anew each time. */
  get payload(): Uint8Array {
    return this.toSend({ left: MOST_REPAIR_WORK });
  }

  /** The same, with so much work at most to mend it. */
  toSend(work: RepairWork): Uint8Array {
    const cut = cutOf(this.held, this.spanIndexes);
    const repaired = this.#repaired(cut, work);
    this.#mended = repaired?.spans;
    return repaired?.payload ?? cut;
  }

  /** A bug in it must cost no span: these go as they came then. */
  #repaired(cut: Uint8Array, work: RepairWork): Repair | undefined {
    try {
      return this.#repair?.(cut, work);
    } catch {
      return undefined;
    }
  }

  /** The same spans, mended; undefined where nothing in them is known to be wrong. */
  mend(repair: RepairSpans, work: RepairWork): Part<H> | undefined {
    const mended = repair(this.payload, work)?.spans;
    return mended && new Part(this.held, this.spanIndexes, repair, mended);
  }

  /** Some of the spans, by ascending position. */
  pick(chosen: readonly number[]): Part<H> {
    const mended = chosen.flatMap((from, to) => {
      const what = this.#mended?.get(from);
      return what === undefined ? [] : [[to, what] as const];
    });
    const spanIndexes = chosen.map((position) => this.spanIndexes[position] as number);
    return mended.length === 0
      ? new Part(this.held, spanIndexes)
      : new Part(this.held, spanIndexes, this.#repair, new Map(mended));
  }
}
