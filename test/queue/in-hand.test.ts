import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import type { Lease } from '../../src/queue/queue.ts';
import { open, readAll, record, temporaryDirectory, textOf } from './support.ts';

const child = new URL('working-process.ts', import.meta.url).pathname;

/** A queue in which records wait that share a frame, and one behind them. */
async function queueOfThree(): Promise<string> {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory);
  await queue.append([record('a'), record('b')]);
  await queue.append([record('c')]);
  await close();
  return directory;
}

/** The relay is killed while the record with this text is in hand; without such a record, while none is. */
async function killedAt(directory: string, text: string): Promise<void> {
  const worker = spawn(process.execPath, [child, directory, text], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(worker, 'exit');
  await once(worker.stdout, 'data');
  worker.kill('SIGKILL');
  await ended;
}

/** What a start finds, which ends without having tried anything. */
async function suspects(directory: string) {
  const { queue, close, logged } = await open(directory);
  const leases = await readAll(queue.reader('mlflow'));
  await close();
  return { texts: leases.filter(({ isSuspect }) => isSuspect).map(textOf), lines: logged() };
}

const fileIn = (directory: string) => join(directory, 'positions', 'mlflow.in-hand');

describe('a record that is in hand when the relay is killed', () => {
  test('is suspect after the second time in a row, and no other; each time it is told', async () => {
    const directory = await queueOfThree();
    await killedAt(directory, 'b');
    const first = await suspects(directory);
    expect(first.texts).toEqual([]);
    expect(first.lines).toContainEqual(
      expect.objectContaining({
        level: 'warn',
        destination: 'mlflow',
        index: 1,
        ends: 1,
        msg: expect.stringContaining('it is tried again'),
      }),
    );
    await killedAt(directory, 'b');
    const second = await suspects(directory);
    expect(second.texts).toEqual(['b']);
    expect(second.lines).toContainEqual(
      expect.objectContaining({
        level: 'error',
        index: 1,
        ends: 2,
        msg: expect.stringContaining('set aside with the dead letters'),
      }),
    );
    // As long as nobody has done anything about it.
    expect((await suspects(directory)).texts).toEqual(['b']);
  }, 30_000);

  test.each([
    ['another record is in hand the second time', ['b', 'a'], []],
    ['another record is in hand in between', ['b', 'c', 'b'], []],
    ['none is in hand in between, which says nothing of it', ['b', 'none', 'b'], ['b']],
    ['none is ever in hand', ['none', 'none'], []],
  ])(
    '%s',
    async (_, kills, expected) => {
      const directory = await queueOfThree();
      for (const text of kills) await killedAt(directory, text);
      expect((await suspects(directory)).texts).toEqual(expected);
    },
    30_000,
  );

  test('is no suspect after a clean end of a relay that has tried it', async () => {
    const directory = await queueOfThree();
    await killedAt(directory, 'b');
    const { queue, close } = await open(directory);
    for (const lease of await readAll(queue.reader('mlflow'))) lease.inHand(); // stopped while the last one is in hand
    await close();
    await killedAt(directory, 'b');
    expect((await suspects(directory)).texts).toEqual([]);
    await killedAt(directory, 'b');
    expect((await suspects(directory)).texts).toEqual(['b']);
  }, 30_000);

  test('is one for its own destination only', async () => {
    const directory = await queueOfThree();
    await killedAt(directory, 'c');
    await killedAt(directory, 'c');
    const { queue } = await open(directory, { destinations: ['mlflow', 'phoenix'] });
    await queue.append([record('d', { to: ['mlflow', 'phoenix'] })]);
    expect((await readAll(queue.reader('phoenix'))).map(({ isSuspect }) => isSuspect)).toEqual([false]);
    expect((await readAll(queue.reader('mlflow'))).filter(({ isSuspect }) => isSuspect).map(textOf)).toEqual([
      'c',
    ]);
  }, 30_000);
});

/** A process of its own that comes to its end without a word, as far as the file can tell: a copy of what it left. */
async function afterCrash(directory: string, work: (leases: readonly Lease[]) => void): Promise<void> {
  const { queue, close } = await open(directory);
  work(await readAll(queue.reader('mlflow')));
  const left = await readFile(fileIn(directory));
  await close();
  await writeFile(fileIn(directory), left);
}

describe('the file', () => {
  test('names no record before one is in hand, nor after it is out of hand or settled', async () => {
    const directory = await queueOfThree();
    await afterCrash(directory, ([a, b, c]) => {
      a?.inHand();
      a?.outOfHand();
      b?.inHand();
      c?.outOfHand(); // of another one: it changes nothing
      b?.settle();
    });
    expect(await suspects(directory)).toEqual({ texts: [], lines: [] });
    await afterCrash(directory, ([, b, c]) => {
      b?.inHand();
      c?.outOfHand();
    });
    expect((await suspects(directory)).lines).toMatchObject([{ level: 'warn', index: 1, ends: 1 }]);
  });

  test('forgets a record that was settled, but not one that is suspect and may come again', async () => {
    const directory = await queueOfThree();
    const dieOf = (text: string) =>
      afterCrash(directory, (leases) => leases.find((lease) => textOf(lease) === text)?.inHand());
    const settle = (text: string) =>
      afterCrash(directory, (leases) => leases.find((lease) => textOf(lease) === text)?.settle());
    await dieOf('b');
    await settle('b');
    await dieOf('b');
    expect((await suspects(directory)).texts).toEqual([]);
    await dieOf('b');
    await settle('b');
    expect((await suspects(directory)).texts).toEqual(['b']);
  });

  test('is for its owner alone, and of a size that never grows', async () => {
    const directory = await queueOfThree();
    const before = await stat(fileIn(directory));
    expect(before.mode & 0o777).toBe(0o600);
    await killedAt(directory, 'b');
    expect((await stat(fileIn(directory))).size).toBe(before.size);
  }, 30_000);

  test.each([
    ['cut', (bytes: Buffer) => bytes.subarray(0, 20)],
    ['zeros', (bytes: Buffer) => Buffer.alloc(bytes.length)],
    ['flipped', (bytes: Buffer) => bytes.map((byte, at) => (at === 24 ? byte ^ 1 : byte))],
    ['of a later version', (bytes: Buffer) => bytes.map((byte, at) => (at === 7 ? 2 : byte))],
  ])(
    'damaged (%s) is told, counts as none, and works again',
    async (_, damage) => {
      const directory = await queueOfThree();
      await killedAt(directory, 'b');
      await killedAt(directory, 'b');
      await writeFile(fileIn(directory), damage(await readFile(fileIn(directory))));
      const { texts, lines } = await suspects(directory);
      expect(texts).toEqual([]);
      expect(lines).toContainEqual(
        expect.objectContaining({
          level: 'warn',
          file: fileIn(directory),
          msg: expect.stringContaining('is damaged, or of another version'),
        }),
      );
      expect((await suspects(directory)).lines).toEqual([]);
    },
    30_000,
  );

  test('that cannot be used is told, and keeps nothing from being delivered', async () => {
    const directory = await queueOfThree();
    const fs: FileSystem = {
      ...realFileSystem,
      open: (path, how) =>
        path.endsWith('.in-hand')
          ? Promise.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))
          : realFileSystem.open(path, how),
    };
    const { queue, logged } = await open(directory, { fs });
    for (const lease of await readAll(queue.reader('mlflow'))) {
      lease.inHand();
      lease.settle();
    }
    expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(0);
    expect(logged()).toContainEqual(
      expect.objectContaining({ level: 'warn', reason: 'EIO: i/o error', file: fileIn(directory) }),
    );
  });

  test('that takes no writes is told once, and a record can be worked on all the same', async () => {
    const directory = await queueOfThree();
    const fs: FileSystem = {
      ...realFileSystem,
      async open(path, how) {
        const file = await realFileSystem.open(path, how);
        if (!path.endsWith('.in-hand')) return file;
        return {
          ...file,
          writeSync() {
            throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
          },
        };
      },
    };
    const { queue, logged } = await open(directory, { fs });
    for (const lease of await readAll(queue.reader('mlflow'))) {
      lease.inHand();
      lease.outOfHand();
    }
    const told = logged().filter(({ level }) => level === 'error');
    expect(told).toEqual([expect.objectContaining({ reason: 'ENOSPC: no space left', times: 1 })]);
  });
});
