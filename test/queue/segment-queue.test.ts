import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import { open, readAll, record, segmentFiles, temporaryDirectory, textOf } from './support.ts';

test('what was stored is read in order, once, and gone after it was settled', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  for (const text of ['a', 'b', 'c']) expect(await first.queue.append([record(text)])).toBe('stored');
  const leases = await readAll(first.queue.reader('mlflow'));
  expect(leases.map(textOf)).toEqual(['a', 'b', 'c']);
  expect(leases[0]?.record).toEqual(record('a'));
  for (const lease of leases) lease.settle();
  await first.close();

  const second = await open(directory);
  expect(await readAll(second.queue.reader('mlflow'))).toEqual([]);
  expect(second.queue.status().destinations['mlflow']).toMatchObject({ waitingSpans: 0, recoveredSpans: 0 });
  // In the end only the one that this open began.
  await expect.poll(() => segmentFiles(directory), { timeout: 10_000 }).toHaveLength(1);
});

test('what is not settled comes again after a restart, and nothing else after an orderly end', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  for (const text of ['a', 'b', 'c', 'd']) await first.queue.append([record(text, { spans: 2 })]);
  const leases = await readAll(first.queue.reader('mlflow'));
  for (const index of [0, 2]) leases[index]!.settle();
  expect(first.queue.status().destinations['mlflow']?.waitingSpans).toBe(4);
  await first.close();

  const second = await open(directory);
  expect(second.queue.status().destinations['mlflow']).toMatchObject({ recoveredSpans: 4, waitingSpans: 4 });
  expect((await readAll(second.queue.reader('mlflow'))).map(textOf)).toEqual(['b', 'd']);
});

test('settling twice counts once', async () => {
  const { queue } = await open(await temporaryDirectory());
  await queue.append([record('a', { spans: 3 })]);
  await queue.append([record('b', { spans: 5 })]);
  const [lease] = await readAll(queue.reader('mlflow'));
  lease!.settle();
  lease!.settle();
  expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(5);
});

test('what is done of a record waits no more, and after an orderly end the record comes again with the rest', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  await first.queue.append([record('a', { spans: 5 })]);
  const [lease] = await readAll(first.queue.reader('mlflow'));
  lease!.done([0, 3]);
  expect(first.queue.status().destinations['mlflow']?.waitingSpans).toBe(3);
  await first.close();
  const second = await open(directory);
  const [again] = await readAll(second.queue.reader('mlflow'));
  expect(second.queue.status().destinations['mlflow']).toMatchObject({ recoveredSpans: 3, waitingSpans: 3 });
  expect([...again!.left!]).toEqual([0, 3]);
  again!.done([1, 2, 4]);
  again!.settle();
  expect(second.queue.status().destinations['mlflow']?.waitingSpans).toBe(0);
});

test('one append is one frame: records of several routes go to their destinations', async () => {
  const directory = await temporaryDirectory();
  const { queue } = await open(directory, { destinations: ['mlflow', 'phoenix'] });
  await queue.append([record('both', { to: ['mlflow', 'phoenix'] }), record('one', { to: ['phoenix'] })]);
  expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['both']);
  expect((await readAll(queue.reader('phoenix'))).map(textOf)).toEqual(['both', 'one']);
});

test('destinations keep places of their own; a new one starts at the end, a vanished one keeps its data', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory, { destinations: ['mlflow', 'away'] });
  await first.queue.append([record('a', { to: ['mlflow', 'away'] })]);
  for (const lease of await readAll(first.queue.reader('mlflow'))) lease.settle();
  await first.close();

  const second = await open(directory, { destinations: ['mlflow', 'new'] });
  await second.queue.append([record('b', { to: ['mlflow', 'new'] })]);
  expect((await readAll(second.queue.reader('mlflow'))).map(textOf)).toEqual(['b']);
  expect((await readAll(second.queue.reader('new'))).map(textOf)).toEqual(['b']);
  await second.close();

  const third = await open(directory, { destinations: ['mlflow', 'away'] });
  expect((await readAll(third.queue.reader('away'))).map(textOf)).toEqual(['a']);
});

test('a waiting reader wakes up for what is stored, and for an abort', async () => {
  const { queue } = await open(await temporaryDirectory());
  const reader = queue.reader('mlflow');
  expect(await reader.next()).toBeUndefined();
  const waiting = reader.waitForMore();
  await queue.append([record('a')]);
  await waiting;
  expect(textOf((await reader.next())!)).toBe('a');

  expect(await reader.next()).toBeUndefined();
  await queue.append([record('b')]); // between `next` and `waitForMore`: must not be slept through
  await reader.waitForMore();
  expect(textOf((await reader.next())!)).toBe('b');

  const abort = new AbortController();
  expect(await reader.next()).toBeUndefined();
  const aborted = reader.waitForMore(abort.signal);
  abort.abort();
  await aborted;
});

test('a full queue takes nothing, and takes again when what it had is settled', async () => {
  const directory = await temporaryDirectory();
  const maxBytes = 1024 * 1024;
  const first = await open(directory, { maxBytes });
  let stored = 0;
  while ((await first.queue.append([record('x', { bytes: 50_000 })])) === 'stored') stored++;
  expect(stored).toBeGreaterThan(15);
  expect(first.queue.status().bytes).toBeLessThanOrEqual(maxBytes);
  for (const lease of await readAll(first.queue.reader('mlflow'))) lease.settle();
  await first.close();

  const second = await open(directory, { maxBytes });
  expect(await second.queue.append([record('y', { bytes: 900_000 })])).toBe('stored');
  expect(await second.queue.append([record('z', { bytes: 900_000 })])).toBe('full');
});

test('segments are removed from the front while the queue runs', async () => {
  const directory = await temporaryDirectory();
  const { queue } = await open(directory, { maxBytes: 1024 * 1024 });
  const reader = queue.reader('mlflow');
  for (let i = 0; i < 60; i++) {
    // Sixty times 50 kB through a queue of 1 MiB: only possible when the front is removed.
    while ((await queue.append([record('x', { bytes: 50_000 })])) === 'full') {
      const before = queue.status().bytes;
      await expect.poll(() => queue.status().bytes, { timeout: 10_000 }).toBeLessThan(before);
    }
    for (const lease of await readAll(reader)) lease.settle();
  }
  expect(queue.status().bytes).toBeLessThan(1024 * 1024);
});

test('an idle queue keeps the segment that it writes to', async () => {
  const directory = await temporaryDirectory();
  // Each save of a position is followed by the removal of what is settled: await some of both.
  let listed = 0;
  const { queue, close } = await open(directory);
  for (const text of ['a', 'b', 'c']) {
    expect(await queue.append([record(text)])).toBe('stored');
    const [lease] = await readAll(queue.reader('mlflow'));
    lease!.settle();
    const positions = join(directory, 'positions', 'mlflow.position');
    const before = (await readFile(positions)).toString('hex');
    await expect
      .poll(async () => (await readFile(positions)).toString('hex'), { timeout: 10_000 })
      .not.toBe(before);
    listed = (await segmentFiles(directory)).length;
    expect(listed).toBe(1);
  }
  expect(await queue.append([record('kept')])).toBe('stored');
  await close();
  const again = await open(directory);
  expect((await readAll(again.queue.reader('mlflow'))).map(textOf)).toEqual(['kept']);
});

test('files and folders are closed to others', async () => {
  const directory = join(await temporaryDirectory(), 'deep', 'queue');
  const { queue } = await open(directory);
  await queue.append([record('a')]);
  const [segment] = await segmentFiles(directory);
  expect((await stat(directory)).mode & 0o777).toBe(0o700);
  expect((await stat(join(directory, 'segments', segment!))).mode & 0o777).toBe(0o600);
  expect((await stat(join(directory, 'positions', 'mlflow.position'))).mode & 0o777).toBe(0o600);
});

test('a second relay is told who holds the queue', async () => {
  const directory = await temporaryDirectory();
  const { close } = await open(directory);
  await expect(open(directory)).rejects.toMatchObject({
    code: 'QUEUE_LOCKED',
    message: expect.stringContaining(`process ${process.pid}`),
  });
  await close();
  await open(directory);
});

test('a folder that cannot be used is named', async () => {
  const file = join(await temporaryDirectory(), 'file');
  await writeFile(file, '');
  await expect(open(join(file, 'queue'))).rejects.toMatchObject({
    code: 'QUEUE_UNUSABLE',
    message: expect.stringContaining(`${file}/queue (key queue.directory)`),
  });
  await expect(open('/proc/nowhere/queue')).rejects.toMatchObject({ code: 'QUEUE_UNUSABLE' });
});

test('dead letters are counted by destination, across restarts', async () => {
  const directory = await temporaryDirectory();
  const { payload, sender, route, receivedAt } = record('bad');
  const letter = { payload, sender, route, receivedAt, spanCount: 4, destination: 'mlflow' };
  const first = await open(directory);
  await first.queue.deadLetters.append([
    {
      ...letter,
      id: 'one',
      target: 'experiment 1',
      refusedAt: 1,
      attempts: 1,
      status: 400,
      reason: '400',
      repaired: undefined,
    },
  ]);
  expect(first.queue.deadLetters.status().spans).toEqual({ mlflow: 4 });
  await first.close();
  const second = await open(directory);
  expect(second.queue.deadLetters.status().spans).toEqual({ mlflow: 4 });
});

test('on a disk without room for another segment, the last one goes too when all of it is settled', async () => {
  let free = Infinity;
  const fs: FileSystem = { ...realFileSystem, freeBytes: async () => free };
  const directory = await temporaryDirectory();
  const { queue } = await open(directory, { fs });
  await queue.append([record('a', { bytes: 5_000_000 })]); // more than a segment: the next one is begun at once
  free = 0;
  for (let i = 0; i < 3; i++) await queue.append([record('b', { bytes: 5_000_000 })]);
  await expect.poll(() => queue.status().canAppend, { timeout: 10_000 }).toBe(false);
  expect(queue.status().reason).toContain('has less room than a segment');
  expect(queue.status().bytes).toBeGreaterThan(5_000_000);
  for (const lease of await readAll(queue.reader('mlflow'))) lease.settle();
  await expect.poll(() => segmentFiles(directory), { timeout: 10_000 }).toEqual([]);
  free = Infinity;
  await expect.poll(() => queue.status().canAppend, { timeout: 10_000 }).toBe(true);
  expect(await queue.append([record('after')])).toBe('stored');
  expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['after']);
});

const smallFrom = (sender: string) => ({ ...record('x', { bytes: 500 }), sender });

test('senders of small requests that filled the queue together leave room for one more', async () => {
  const { queue } = await open(await temporaryDirectory(), { maxBytes: 1024 * 1024 });
  const senders = Array.from({ length: 5 }, (_, i) => `sender ${i}`);
  const refused = new Set<string>();
  for (let i = 0; refused.size < senders.length; i++) {
    const sender = senders[i % senders.length] ?? '';
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => queue.append([smallFrom(sender)])));
    if (outcomes.includes('over_share')) refused.add(sender);
    expect(outcomes).not.toContain('full');
  }
  expect(await queue.append([smallFrom('another')])).toBe('stored');
});
