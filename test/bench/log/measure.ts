import { readFileSync } from 'node:fs';
import type { Store } from './store.ts';

/** Spans are counted, as that is what a record is made of. */
export type CostFigures = {
  /** CPU time of the whole process a span, µs. */
  appendCpu: number;
  readCpu: number;
  removeCpu: number;
  /** Records a second, each durable before its answer. */
  rate: number;
  /** Bytes sent to the disk by append and remove for each byte of a record. */
  writes: number;
};

export type Load = { records: number; spansPerRecord: number; appenders: number };

/** Removed in so many steps, as a queue's positions are saved from time to time. */
const REMOVALS = 20;
/** Told apart by their last bytes: the root's ids and words. */
const TAIL = 256;

/**
 * Appends, reads back in order, and removes, one after the other.
 * @param payloads repeated until there are enough records
 * @throws Error if what is read is not what was appended
 */
export async function measureCost(
  store: Store,
  payloads: readonly Buffer[],
  { records, spansPerRecord, appenders }: Load,
): Promise<CostFigures> {
  const payloadOf = (index: number) => payloads[index % payloads.length] as Buffer;
  let bytes = 0;
  const writtenBefore = bytesWritten();

  let next = 0;
  const append = async () => {
    while (next < records) {
      const payload = payloadOf(next++);
      bytes += payload.length;
      await store.append(payload);
    }
  };
  const appended = await timed(() => Promise.all(Array.from({ length: appenders }, append)));

  let read = 0;
  const readBack = await timed(() =>
    store.read((payload) => {
      const expected = payloadOf(read++);
      const tail = Buffer.from(payload.buffer, payload.byteOffset + payload.length - TAIL, TAIL);
      if (payload.length !== expected.length || !tail.equals(expected.subarray(-TAIL)))
        throw new Error(`record ${read} is another one than was appended`);
    }),
  );
  if (read !== records) throw new Error(`${records} records were appended, ${read} came back`);

  const removed = await timed(async () => {
    for (let step = 0; step < REMOVALS; step++) await store.removeOldest(Math.ceil(records / REMOVALS));
  });
  await store.close();
  const spans = records * spansPerRecord;
  return {
    appendCpu: appended.cpu / spans,
    readCpu: readBack.cpu / spans,
    removeCpu: removed.cpu / spans,
    rate: records / appended.seconds,
    writes: (bytesWritten() - writtenBefore) / bytes,
  };
}

/** CPU time of all threads, µs, and seconds. */
async function timed(work: () => Promise<unknown>): Promise<{ cpu: number; seconds: number }> {
  const before = process.cpuUsage();
  const started = performance.now();
  await work();
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(before);
  return { cpu: user + system, seconds };
}

/** That this process has caused to be written to a disk (Linux, proc(5)). */
function bytesWritten(): number {
  return Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
}
