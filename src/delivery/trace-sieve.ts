import type { TraceId } from '../otlp/record.ts';
import type { Batch } from './batch.ts';
import { divide } from './divide.ts';
import type { Guilty } from './isolation.ts';

/** So many times the traces that there are for each that is named: of such requests one of fifty is taken. */
const TIMES = 4;

/**
 * Takes out of a batch the traces that the upstream takes no more, where it names one of them in each answer: after an
 * answer the others go again. It names the first by id, so that those before it are well; were that not so, it would
 * only take more requests.
 *
 * From the second on, only some times as many traces go as there are for each that is named: else a batch of which many
 * traces are such would be sent nearly whole for each of them. After a request that is taken it is twice as many.
 *
 * Pure. There is one request at a time.
 */
export class TraceSieve<H> {
  /** What is still to be sent, and what is in a request. */
  #left: Batch<H>;
  /** The ids in it of which nothing is known, ascending. */
  #unknown: readonly TraceId[];
  /** Traces in the next request. */
  #most = Infinity;
  /** Answers that named some. */
  #namings = 0;
  /** Of the whole batch. */
  readonly #traces: number;
  /** What was taken out. */
  readonly guilty: Guilty<H>[] = [];

  constructor(batch: Batch<H>) {
    this.#left = batch;
    this.#unknown = [...batch.traces.keys()].toSorted();
    this.#traces = this.#unknown.length;
  }

  /** What goes next; undefined where nothing is left. Those that are known to be well go together, at the end. */
  next(): Batch<H> | undefined {
    if (this.#left.spanCount === 0) return undefined;
    if (this.#most === Infinity || this.#unknown.length === 0) return this.#left;
    const chosen = new Set(this.#unknown.slice(0, this.#most));
    return divide(this.#left, (traceId) => chosen.has(traceId))[0];
  }

  /** The answer to this batch has named these, which are told by now. */
  named(batch: Batch<H>, names: ReadonlySet<TraceId>): void {
    const first = [...batch.traces.keys()].toSorted().find((id) => names.has(id)) ?? '';
    this.#remove(names);
    this.#unknown = this.#unknown.filter((id) => id > first);
    const known = this.#traces - this.#unknown.length;
    this.#most = ++this.#namings === 1 ? Infinity : Math.ceil((TIMES * known) / this.#namings);
  }

  /** It is not looked after here any more. */
  left(batch: Batch<H>, isDelivered: boolean): void {
    this.#remove(batch.traces);
    if (isDelivered) this.#most *= 2;
  }

  #remove(traces: { has(traceId: TraceId): boolean }): void {
    this.#left = divide(this.#left, (traceId) => !traces.has(traceId))[0];
    this.#unknown = this.#unknown.filter((id) => !traces.has(id));
  }
}
