import { join } from 'node:path';
import { expect, test } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem, OpenFile } from '../../src/queue/filesystem.ts';
import { open, readAll, record, temporaryDirectory, textOf } from './support.ts';

/** The real file system with a hook before each sync of a segment. */
function withSyncHook(beforeSync: (path: string) => Promise<void> | void): FileSystem {
  const wrap = (path: string, file: OpenFile): OpenFile => ({
    ...file,
    async sync() {
      if (path.includes('/segments/')) await beforeSync(path);
      await file.sync();
    },
  });
  return {
    ...realFileSystem,
    create: async (path) => wrap(path, await realFileSystem.create(path)),
    open: async (path) => wrap(path, await realFileSystem.open(path)),
  };
}

test('nothing is stored, and nothing can be read, before the sync that covers it', async () => {
  const gate = Promise.withResolvers<void>();
  let syncs = 0;
  const fs = withSyncHook(() => (++syncs === 1 ? undefined : gate.promise)); // the first is the segment's header
  const { queue } = await open(await temporaryDirectory(), { fs });
  const order: string[] = [];
  const appended = queue.append([record('a')]).then((outcome) => order.push(outcome));
  expect(await queue.reader('mlflow').next()).toBeUndefined();
  await new Promise((resolve) => setImmediate(resolve));
  order.push('synced');
  gate.resolve();
  await appended;
  expect(order).toEqual(['synced', 'stored']);
  expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['a']);
});

test('what arrives during a sync shares the next one', async () => {
  let syncs = 0;
  const fs = withSyncHook(() => void syncs++);
  const { queue } = await open(await temporaryDirectory(), { fs });
  const before = syncs;
  const outcomes = await Promise.all(Array.from({ length: 500 }, (_, i) => queue.append([record(`${i}`)])));
  expect(new Set(outcomes)).toEqual(new Set(['stored']));
  expect(syncs - before).toBe(2); // the first one alone, the other 499 together
  const texts = (await readAll(queue.reader('mlflow'))).map(textOf);
  expect(texts).toEqual(Array.from({ length: 500 }, (_, i) => `${i}`));
});

test('a disk that takes no writes at the start does not keep the queue from reading', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  await first.queue.append([record('kept')]);
  await first.close();
  let full = true;
  const fs: FileSystem = {
    ...realFileSystem,
    create: (path) =>
      full && path.startsWith(join(directory, 'segments'))
        ? Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }))
        : realFileSystem.create(path),
  };
  const { queue, logged } = await open(directory, { fs });
  const told = () => logged().map(({ msg }) => msg);
  expect(queue.status().canAppend).toBe(false);
  expect(told()).toContainEqual(expect.stringContaining('the disk does not take writes of the queue'));
  expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['kept']);
  full = false;
  await expect.poll(() => queue.status().canAppend, { timeout: 10_000 }).toBe(true);
  expect(told()).toContain('the disk takes writes of the queue again');
});

test('a segment that cannot be read at the start is read when the disk gives it again', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  for (const text of ['a', 'b']) await first.queue.append([record(text)]);
  await first.close();
  let failing = true;
  const fs: FileSystem = {
    ...realFileSystem,
    async open(path) {
      const file = await realFileSystem.open(path);
      if (!path.endsWith('.segment')) return file;
      const read: OpenFile['read'] = (into, position) =>
        failing
          ? Promise.reject(Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' }))
          : file.read(into, position);
      return { ...file, read };
    },
  };
  const { queue } = await open(directory, { fs });
  expect(await readAll(queue.reader('mlflow'))).toEqual([]);
  failing = false;
  await queue.reader('mlflow').waitForMore();
  // The footer of the segment is not taken for data, and reading ends.
  expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['a', 'b']);
  expect(await queue.append([record('c')])).toBe('stored');
  expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['c']);
});
