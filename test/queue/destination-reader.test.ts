import { getEventListeners } from 'node:events';
import { expect, test, vi } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import { open, readAll, record, temporaryDirectory, textOf } from './support.ts';

test('a signal is left with no listeners, however often it was waited with', async () => {
  const { queue } = await open(await temporaryDirectory());
  const reader = queue.reader('mlflow');
  const { signal } = new AbortController();
  for (let round = 0; round < 5; round++) {
    await readAll(reader);
    const waited = reader.waitForMore(signal);
    await queue.append([record('more')]);
    await waited;
  }
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('a disk that cannot be read is tried once a second', async () => {
  const directory = await temporaryDirectory();
  const before = await open(directory);
  await before.queue.append([record('kept')]);
  await before.close();

  let isAway = false;
  let tries = 0;
  const fs: FileSystem = {
    ...realFileSystem,
    open(path, how) {
      if (!isAway || !path.endsWith('.segment')) return realFileSystem.open(path, how);
      tries++;
      return Promise.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }));
    },
  };
  const { queue } = await open(directory, { fs });
  const reader = queue.reader('mlflow');
  isAway = true;
  vi.useFakeTimers({ toFake: ['setTimeout'] });
  try {
    // As delivery does.
    const read = async () => {
      for (;;) {
        const lease = await reader.next();
        if (lease !== undefined) return textOf(lease);
        await reader.waitForMore();
      }
    };
    const reading = read();
    for (let second = 0; second < 10; second++) {
      await vi.advanceTimersByTimeAsync(1000);
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThanOrEqual(12);
    isAway = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect(await reading).toBe('kept');
  } finally {
    vi.useRealTimers();
  }
});

test('a record that is settled twice leaves the other one of its append where it is', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  await first.queue.append([record('a', { spans: 3 }), record('b', { spans: 5 })]);
  const [lease] = await readAll(first.queue.reader('mlflow'));
  lease!.settle();
  lease!.settle();
  expect(first.queue.status().destinations['mlflow']?.waitingSpans).toBe(5);
  await first.close();
  const second = await open(directory);
  expect((await readAll(second.queue.reader('mlflow'))).map(textOf)).toEqual(['b']);
});
