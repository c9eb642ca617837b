import type { TraceRecord } from '../../src/otlp/record.ts';
import type { AppendOutcome, Queue } from '../../src/queue/queue.ts';

/** The append side of a queue, in memory: answers what it is told to, and can keep an append waiting. */
export class MemoryQueue implements Pick<Queue, 'append'> {
  readonly records: TraceRecord[] = [];
  /** What the next appends come to; an Error is thrown. */
  outcome: AppendOutcome | Error = 'stored';
  /** Appends that have no answer yet. */
  waiting = 0;
  #gate: Promise<void> | undefined;
  #arrived: (() => void) | undefined;

  async append(records: readonly TraceRecord[]): Promise<AppendOutcome> {
    this.waiting += 1;
    this.#arrived?.();
    await this.#gate;
    this.waiting -= 1;
    if (this.outcome instanceof Error) throw this.outcome;
    if (this.outcome === 'stored') this.records.push(...records);
    return this.outcome;
  }

  /** Keeps appends waiting until `release`; `arrived` resolves when one does. */
  hold(): { arrived: Promise<void>; release: () => void } {
    const gate = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    this.#gate = gate.promise;
    this.#arrived = arrived.resolve;
    return { arrived: arrived.promise, release: gate.resolve };
  }

  get spanCount(): number {
    return this.records.reduce((sum, record) => sum + record.spanCount, 0);
  }
}
