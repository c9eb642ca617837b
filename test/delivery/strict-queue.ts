import type { TraceRecord } from '../../src/otlp/record.ts';
import type { Lease } from '../../src/queue/queue.ts';
import { MemoryQueue } from './support.ts';

/** A queue in memory that notes what must not be done with a lease. */
export class StrictQueue extends MemoryQueue {
  readonly wrong: string[] = [];
  /** Records that were read and are not settled. */
  readonly open = new Set<Lease>();
  /** Spans that were appended. */
  spans = 0;

  /** Of records that are not of this sender. */
  openOfOthers(sender: string): number {
    return [...this.open].filter(({ record }) => record.sender !== sender).length;
  }

  override append(...records: TraceRecord[]): void {
    for (const { spanCount } of records) this.spans += spanCount;
    super.append(...records);
  }

  override async next(): Promise<Lease | undefined> {
    const lease = await super.next();
    if (lease === undefined) return undefined;
    const { spanCount } = lease.record;
    const done = new Set<number>();
    const strict: Lease = {
      ...lease,
      done: (spanIndexes) => {
        for (const index of spanIndexes) {
          if (done.has(index) || !(index < spanCount)) this.wrong.push(`span ${index} is done, or not there`);
          done.add(index);
        }
        lease.done(spanIndexes);
      },
      settle: () => {
        if (!this.open.delete(strict)) this.wrong.push('a record was settled twice');
        if (done.size < spanCount) this.wrong.push(`${done.size} of ${spanCount} spans were done`);
        lease.settle();
      },
      again: async () => strict,
    };
    this.open.add(strict);
    return strict;
  }
}
