// One measurement in a process of its own, as CPU time and bytes written are counted for whole processes.
import { messageOf } from '../../../src/errors.ts';
import { createRequestTemplate } from '../cost/requests.ts';
import { fillAndRemove } from './full-disk.ts';
import { openLmdbStore } from './lmdb-store.ts';
import { measureCost } from './measure.ts';
import type { Answer, Order } from './order.ts';
import { openSegmentLogStore } from './segment-log-store.ts';
import { openSqliteStore } from './sqlite-store.ts';
import type { Store } from './store.ts';

/** As many different ones as make the same bytes rare. */
const PAYLOADS = 64;
/** The default of `queue.max_size`. */
const QUEUE_SIZE = 4 * 2 ** 30;
/** Above the size of the small disk, so that the disk is the limit, and with segments that fit in it. */
const SMALL_QUEUE_SIZE = 64 * 2 ** 20;
/** On the small disk when another program fills it: about a third of it. */
const RECORDS_BEFORE_ANOTHER = 200;

process.once('message', (order: Order) => {
  answer(order)
    .catch((error: unknown): Answer => ({ error: messageOf(error) }))
    .then((it) => process.send?.(it, () => process.disconnect()));
});

async function answer(order: Order): Promise<Answer> {
  const { directory, spansPerRecord } = order;
  const payloads = Array.from({ length: PAYLOADS }, () =>
    Buffer.from(createRequestTemplate(spansPerRecord).next()),
  );
  if ('records' in order) {
    const store = await open(order, QUEUE_SIZE);
    return { cost: await measureCost(store, payloads, order) };
  }
  const store = await open(order, SMALL_QUEUE_SIZE);
  const fullDisk = await fillAndRemove(store, directory, {
    payloads,
    filler: order.filler,
    enough: RECORDS_BEFORE_ANOTHER,
  });
  await store.close().catch(() => {}); // the disk may still be full, and goes away
  return { fullDisk };
}

async function open({ kind, directory, lmdb }: Order, maxBytes: number): Promise<Store> {
  if (kind === 'log') return openSegmentLogStore(directory, maxBytes);
  return kind === 'sqlite' ? openSqliteStore(directory) : openLmdbStore(directory, lmdb);
}
