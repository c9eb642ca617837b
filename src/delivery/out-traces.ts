import type { TraceId } from '../otlp/record.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import type { Batch } from './batch.ts';
import { spanIdOf } from './span-copies.ts';
import type { SpanId, SpanRef } from './span-copies.ts';

/** How many spans of which trace. */
type Counts = ReadonlyMap<TraceId, number>;

type OutSpan<H> = SpanRef<H> & { readonly target: string };

type OutTrace<T, H> = {
  /** Spans that are not settled. */
  open: number;
  /** Those that no other span of the trace may overtake. */
  busy: number;
  parked: T[] | undefined;
  /** Where its spans are, until they have to be found one by one. */
  batches: Batch<H>[] | undefined;
  byId: Map<SpanId, OutSpan<H>[]> | undefined;
};

/**
 * Traces of which spans are out: in a batch that is not settled. Most are busy, since a trace is in one request at a
 * time, and other spans of it are parked until it is not. Finds a span that is out by its id.
 */
export class OutTraces<T, H> {
  readonly #traces = new Map<TraceId, OutTrace<T, H>>();

  has(traceId: TraceId): boolean {
    return this.#traces.has(traceId);
  }

  isBusy(traceId: TraceId): boolean {
    return (this.#traces.get(traceId)?.busy ?? 0) > 0;
  }

  isAnyBusy(traces: Counts): boolean {
    for (const traceId of traces.keys()) if (this.isBusy(traceId)) return true;
    return false;
  }

  /** Spans go out, of a trace that is not busy; `went` tells in which batch. */
  go(traceId: TraceId, spans: number): void {
    const trace = this.#traces.get(traceId);
    if (trace === undefined) {
      this.#traces.set(traceId, {
        open: spans,
        busy: spans,
        parked: undefined,
        batches: undefined,
        byId: undefined,
      });
    } else {
      trace.open += spans;
      trace.busy += spans;
    }
  }

  went(batch: Batch<H>): void {
    for (const traceId of batch.traces.keys()) {
      const trace = this.#of(traceId);
      if (trace.byId !== undefined) index(trace.byId, traceId, batch);
      else if (trace.batches === undefined) trace.batches = [batch];
      else trace.batches.push(batch);
    }
  }

  /** Lets it wait for a busy trace; false: the trace is not busy. */
  park(traceId: TraceId, waiting: T): boolean {
    const trace = this.#traces.get(traceId);
    if (trace === undefined || trace.busy === 0) return false;
    (trace.parked ??= []).push(waiting);
    return true;
  }

  /** What waits for a trace. */
  parked(traceId: TraceId): readonly T[] {
    return this.#traces.get(traceId)?.parked ?? [];
  }

  occupy(traces: Counts): void {
    for (const [traceId, spans] of traces) this.#of(traceId).busy += spans;
  }

  /** @returns what has waited for traces that are not busy any more */
  vacate(traces: Counts): T[] {
    const waited: T[] = [];
    for (const [traceId, spans] of traces) {
      const trace = this.#of(traceId);
      if (trace.busy < spans) throw new Error(`trace ${traceId} is not out`);
      trace.busy -= spans;
      if (trace.busy > 0 || trace.parked === undefined) continue;
      waited.push(...trace.parked);
      trace.parked = undefined;
    }
    return waited;
  }

  /** Spans of a batch, or of a piece of one, are out no longer. */
  settle({ traces, parts }: Batch<H>): void {
    let isIndexed = false;
    for (const [traceId, spans] of traces) {
      const trace = this.#of(traceId);
      trace.open -= spans;
      if (trace.open > 0) {
        this.#index(traceId, trace);
        isIndexed = true;
      } else {
        this.#traces.delete(traceId);
      }
    }
    if (!isIndexed) return;
    for (const { held, spanIndexes } of parts) {
      for (const spanIndex of spanIndexes) {
        const span = held.spans[spanIndex] as SpanSlice;
        const byId = this.#traces.get(span.traceId)?.byId;
        if (byId !== undefined) remove(byId, span, held, spanIndex);
      }
    }
  }

  /** The copy of a span of this sender that is out to the target. */
  find(span: SpanSlice, sender: string, target: string): SpanRef<H> | undefined {
    const trace = this.#traces.get(span.traceId);
    if (trace === undefined) return undefined;
    return this.#index(span.traceId, trace)
      .get(spanIdOf(span))
      ?.find((one) => one.held.sender === sender && one.target === target);
  }

  #index(traceId: TraceId, trace: OutTrace<T, H>): Map<SpanId, OutSpan<H>[]> {
    if (trace.byId !== undefined) return trace.byId;
    trace.byId = new Map();
    for (const batch of trace.batches ?? []) index(trace.byId, traceId, batch);
    trace.batches = undefined;
    return trace.byId;
  }

  #of(traceId: TraceId): OutTrace<T, H> {
    const trace = this.#traces.get(traceId);
    if (trace === undefined) throw new Error(`trace ${traceId} is not out`);
    return trace;
  }
}

function index<H>(byId: Map<SpanId, OutSpan<H>[]>, traceId: TraceId, { parts, target }: Batch<H>): void {
  for (const { held, spanIndexes } of parts) {
    for (const spanIndex of spanIndexes) {
      const span = held.spans[spanIndex] as SpanSlice;
      if (span.traceId !== traceId) continue;
      const one = { held, spanIndex, target: target.key };
      const id = spanIdOf(span);
      const same = byId.get(id);
      if (same === undefined) byId.set(id, [one]);
      else same.push(one);
    }
  }
}

function remove<H>(
  byId: Map<SpanId, OutSpan<H>[]>,
  span: SpanSlice,
  held: SpanRef<H>['held'],
  spanIndex: number,
): void {
  const id = spanIdOf(span);
  const left = byId.get(id)?.filter((one) => one.held !== held || one.spanIndex !== spanIndex) ?? [];
  if (left.length === 0) byId.delete(id);
  else byId.set(id, left);
}
