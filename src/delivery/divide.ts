import type { Repair } from '../destinations/destination.ts';
import type { TraceId } from '../otlp/record.ts';
import { cutSpans, indexSpans } from '../otlp/wire.ts';
import type { Batch, Mended, Part } from './batch.ts';

/* Batches of a batch: halves of it, and the same with spans mended. Pure. */

/**
 * Halves by trace; of a single trace, by span, in order: they must not be on their way at the same time.
 * Undefined for a single span.
 */
export function halve<H>(batch: Batch<H>): readonly [Batch<H>, Batch<H>] | undefined {
  if (batch.spanCount < 2) return undefined;
  if (batch.traces.size > 1) {
    const traces = [...batch.traces.keys()];
    const first = new Set(traces.slice(0, Math.ceil(traces.length / 2)));
    return divide(batch, (traceId) => first.has(traceId));
  }
  let left = Math.ceil(batch.spanCount / 2);
  return divide(batch, () => left-- > 0);
}

/** Whether a span is in the first half is asked once for each, in order. */
function divide<H>(batch: Batch<H>, isInFirst: (traceId: TraceId) => boolean): readonly [Batch<H>, Batch<H>] {
  const first = new Collector(batch);
  const second = new Collector(batch);
  for (const part of batch.parts) {
    const half = indexSpans(part.payload).map(({ traceId }) => {
      const isFirst = isInFirst(traceId);
      (isFirst ? first : second).count(traceId);
      return isFirst;
    });
    first.add(part, (index) => half[index] === true);
    second.add(part, (index) => half[index] === false);
  }
  return [first.batch, second.batch];
}

class Collector<H> {
  readonly #whole: Batch<H>;
  readonly #parts: Part<H>[] = [];
  readonly #traces = new Map<TraceId, number>();

  constructor(whole: Batch<H>) {
    this.#whole = whole;
  }

  count(traceId: TraceId): void {
    this.#traces.set(traceId, (this.#traces.get(traceId) ?? 0) + 1);
  }

  add(part: Part<H>, isChosen: (spanIndex: number) => boolean): void {
    const chosen = Array.from({ length: part.spanCount }, (_, index) => index).filter(isChosen);
    if (chosen.length > 0) this.#parts.push(partOf(part, chosen));
  }

  get batch(): Batch<H> {
    const spanCount = this.#parts.reduce((sum, part) => sum + part.spanCount, 0);
    return { target: this.#whole.target, parts: this.#parts, traces: this.#traces, spanCount };
  }
}

/** Some spans of a part, by ascending position. */
function partOf<H>({ held, payload, mended }: Part<H>, chosen: readonly number[]): Part<H> {
  const cut = (bytes: Uint8Array) => cutTo(bytes, chosen);
  const part = { held, payload: cut(payload), spanCount: chosen.length };
  if (mended === undefined) return part;
  const spans = new Map(
    chosen.flatMap((from, to) => {
      const what = mended.spans.get(from);
      return what === undefined ? [] : [[to, what] as const];
    }),
  );
  return spans.size === 0 ? part : { ...part, mended: { original: cut(mended.original), spans } };
}

/** An ExportTraceServiceRequest with the chosen spans of another, by position in wire order. */
export function cutTo(payload: Uint8Array, chosen: readonly number[]): Uint8Array {
  const keep = new Set(chosen);
  return cutSpans(payload, (spanIndex) => keep.has(spanIndex));
}

/** The batch with what the destination knows to be wrong mended; undefined if it knows of nothing. */
export function mend<H>(
  batch: Batch<H>,
  repair: (payload: Uint8Array) => Repair | undefined,
): Batch<H> | undefined {
  let isChanged = false;
  const parts = batch.parts.map((part) => {
    const repaired = repair(part.payload);
    if (repaired === undefined) return part;
    isChanged = true;
    const mended: Mended = { original: part.payload, spans: repaired.spans };
    return { ...part, payload: repaired.payload, mended };
  });
  return isChanged ? { ...batch, parts } : undefined;
}

/** How many spans are not sent as they came. */
export function mendedSpans(batch: Batch<unknown>): number {
  return batch.parts.reduce((sum, { mended }) => sum + (mended?.spans.size ?? 0), 0);
}
