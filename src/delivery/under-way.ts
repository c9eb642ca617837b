import type { TraceId } from '../otlp/record.ts';
import type { Lease } from '../queue/queue.ts';
import type { Batch } from './batch.ts';
import type { Consignment } from './retry-line.ts';
import type { TraceWindow } from './trace-window.ts';

/** Keeps a trace in one request at a time where a batch goes in pieces, and where its traces are free between requests. */
export class UnderWay {
  readonly #window: Pick<TraceWindow<Lease>, 'occupy' | 'vacate' | 'isFree'>;
  /** Traces in a request of which other pieces of the same batch may have spans too. */
  readonly #traces = new Set<TraceId>();

  constructor(window: Pick<TraceWindow<Lease>, 'occupy' | 'vacate' | 'isFree'>) {
    this.#window = window;
  }

  begin(consignment: Consignment): void {
    const { batch, isPiece, isOccupying } = consignment;
    if (batch.isReleased && !isOccupying) this.occupy(consignment);
    if (isPiece) for (const traceId of batch.traces.keys()) this.#traces.add(traceId);
  }

  end(consignment: Consignment): void {
    const { isPiece, batch, isOccupying } = consignment;
    if (isPiece) for (const traceId of batch.traces.keys()) this.#traces.delete(traceId);
    if (isOccupying) this.#window.vacate(batch);
    consignment.isOccupying = false;
  }

  /** The traces of a released batch stay busy by it between two requests. */
  occupy(consignment: Consignment): void {
    this.#window.occupy(consignment.batch);
    consignment.isOccupying = true;
  }

  mayGo({ isPiece, batch, isOccupying }: Consignment): boolean {
    return !isPiece || (this.#isNotUnderWay(batch) && (isOccupying || this.#hasFreeTraces(batch)));
  }

  /** Whether none of its traces is on its way. */
  isFree(batch: Batch<Lease>): boolean {
    return this.#isNotUnderWay(batch) && this.#hasFreeTraces(batch);
  }

  #hasFreeTraces(batch: Batch<Lease>): boolean {
    return batch.isReleased !== true || this.#window.isFree(batch);
  }

  #isNotUnderWay({ traces }: Batch<Lease>): boolean {
    if (this.#traces.size === 0) return true;
    for (const traceId of traces.keys()) if (this.#traces.has(traceId)) return false;
    return true;
  }
}
