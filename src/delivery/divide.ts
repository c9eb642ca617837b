import type { TraceId } from '../otlp/record.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import { sendersOf } from './batch.ts';
import type { Batch } from './batch.ts';
import type { Part } from './part.ts';

/* Parts of a batch. Pure. */

/**
 * Halves by trace; of a single trace, by span, in order: they must not be on their way at the same time.
 * Undefined for a single span.
 */
export function halve<H>(batch: Batch<H>): readonly [Batch<H>, Batch<H>] | undefined {
  if (batch.spanCount < 2) return undefined;
  const halves = halveByTrace(batch);
  if (halves !== undefined) return halves;
  let left = Math.ceil(batch.spanCount / 2);
  return divide(batch, () => left-- > 0);
}

/** Undefined for a single trace. */
export function halveByTrace<H>(batch: Batch<H>): readonly [Batch<H>, Batch<H>] | undefined {
  if (batch.traces.size < 2) return undefined;
  const traces = [...batch.traces.keys()];
  const first = new Set(traces.slice(0, Math.ceil(traces.length / 2)));
  return divide(batch, (traceId) => first.has(traceId));
}

/** Halves by sender; undefined where there is only one. A trace of several senders may be in both. */
export function halveBySender<H>(batch: Batch<H>): readonly [Batch<H>, Batch<H>] | undefined {
  const senders = [...sendersOf(batch)];
  if (senders.length < 2) return undefined;
  const first = new Set(senders.slice(0, Math.ceil(senders.length / 2)));
  return divide(batch, (_traceId, sender) => first.has(sender));
}

/** Two parts, of which one may be empty. Whether a span is in the first is asked once for each, in order. */
export function divide<H>(
  batch: Batch<H>,
  isInFirst: (traceId: TraceId, sender: string) => boolean,
): readonly [Batch<H>, Batch<H>] {
  const first = new Collector(batch);
  const second = new Collector(batch);
  for (const part of batch.parts) {
    const { spans, sender } = part.held;
    const half = part.spanIndexes.map((index) => {
      const { traceId } = spans[index] as SpanSlice;
      const isFirst = isInFirst(traceId, sender);
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
    const chosen = [...part.spanIndexes.keys()].filter(isChosen);
    if (chosen.length > 0) this.#parts.push(part.pick(chosen));
  }

  get batch(): Batch<H> {
    const spanCount = this.#parts.reduce((sum, part) => sum + part.spanIndexes.length, 0);
    return { ...this.#whole, parts: this.#parts, traces: this.#traces, spanCount };
  }
}
