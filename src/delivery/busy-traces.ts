import type { TraceId } from '../otlp/record.ts';

/** How many spans of which trace. */
type Counts = ReadonlyMap<TraceId, number>;

/** Traces of which spans are out, and what waits until these are back: a trace is in one request at a time. */
export class BusyTraces<T> {
  readonly #busy = new Map<TraceId, { out: number; readonly parked: T[] }>();

  has(traceId: TraceId): boolean {
    return this.#busy.has(traceId);
  }

  hasAny(traces: Counts): boolean {
    for (const traceId of traces.keys()) if (this.#busy.has(traceId)) return true;
    return false;
  }

  /** Spans go out, of a trace that is not busy. */
  add(traceId: TraceId, spans: number): void {
    this.#busy.set(traceId, { out: spans, parked: [] });
  }

  /** Lets it wait for a busy trace; false: the trace is not busy. */
  park(traceId: TraceId, waiting: T): boolean {
    const busy = this.#busy.get(traceId);
    busy?.parked.push(waiting);
    return busy !== undefined;
  }

  /** What waits for a trace. */
  parked(traceId: TraceId): readonly T[] {
    return this.#busy.get(traceId)?.parked ?? [];
  }

  /** Spans are back. @returns what has waited for traces that are not busy any more */
  free(traces: Counts): T[] {
    const waited: T[] = [];
    for (const [traceId, spans] of traces) {
      const busy = this.#busy.get(traceId);
      if (busy === undefined) throw new Error(`trace ${traceId} is not out`);
      busy.out -= spans;
      if (busy.out > 0) continue;
      this.#busy.delete(traceId);
      waited.push(...busy.parked);
    }
    return waited;
  }
}
