import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, test, vi } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import { MOST_PLACES } from '../../src/queue/in-hand-format.ts';
import { InHand } from '../../src/queue/in-hand.ts';
import type { Lease } from '../../src/queue/queue.ts';
import { open, readAll, record, temporaryDirectory, textOf } from './support.ts';

const child = new URL('working-process.ts', import.meta.url).pathname;

/** A queue in which records wait that share a frame, and one behind them; a relay at work there was killed. */
async function queueOfThree(): Promise<string> {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory);
  await queue.append([record('a'), record('b')]);
  await queue.append([record('c')]);
  await close();
  await killedAt(directory, 'none');
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

/** Of how many records the file tells that they were in hand at an unclean end. */
const placesIn = async (directory: string) => (await readFile(fileIn(directory))).readUInt32LE(64);

const fileIn = (directory: string) => join(directory, 'positions', 'mlflow.in-hand');

describe('a record that is in hand when the relay is killed', () => {
  test('is suspect after the second time, and no other; each time it is told', async () => {
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
    ['another record is in hand in between', ['b', 'c', 'b'], ['b']],
    ['another one is suspect already', ['b', 'b', 'c', 'c'], ['b', 'c']],
    ['three come by turns', ['c', 'b', 'a', 'c', 'b', 'a'], ['a', 'b', 'c']],
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
    expect(await suspects(directory)).toEqual({ texts: [], lines: [] });
    // After a clean end it is not written which record is in hand, and after an unclean one it is again.
    await killedAt(directory, 'b');
    expect(await placesIn(directory)).toBe(0);
    await killedAt(directory, 'b');
    expect((await suspects(directory)).texts).toEqual([]);
    await killedAt(directory, 'b');
    expect((await suspects(directory)).texts).toEqual(['b']);
  }, 30_000);

  test('stays suspect after a clean end, until the saved position is past it', async () => {
    const directory = await queueOfThree();
    for (const text of ['b', 'b', 'c']) await killedAt(directory, text);
    const settled = async (texts: readonly string[]) => {
      const { queue, close } = await open(directory);
      for (const lease of await readAll(queue.reader('mlflow'))) {
        if (!lease.isSuspect) lease.inHand();
        lease.outOfHand();
        if (texts.includes(textOf(lease))) lease.settle();
      }
      await close();
      return placesIn(directory);
    };
    // `a` waits, in whose frame it is. `c` was in hand at one end only, and this one was clean.
    expect(await settled(['c'])).toBe(1);
    expect((await suspects(directory)).texts).toEqual(['b']);
    expect(await settled(['b'])).toBe(1);
    expect((await suspects(directory)).texts).toEqual([]);
    expect(await settled(['a'])).toBe(0);
  }, 30_000);

  test('is forgotten once the saved position is past it, also before a crash', async () => {
    const directory = await queueOfThree();
    await killedAt(directory, 'a');
    const { queue } = await open(directory);
    expect(await placesIn(directory)).toBe(1);
    for (const lease of await readAll(queue.reader('mlflow'))) lease.settle();
    await vi.waitFor(async () => expect(await placesIn(directory)).toBe(0), { timeout: 10_000 });
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
  await rm(join(directory, 'positions', 'mlflow.ledger'), { force: true }); // that of an orderly end
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

  test('keeps a record that was settled, since after a crash it may come again as long as those before it are not', async () => {
    const directory = await queueOfThree();
    const dieOf = (text: string) =>
      afterCrash(directory, (leases) => leases.find((lease) => textOf(lease) === text)?.inHand());
    const settle = (text: string) =>
      afterCrash(directory, (leases) => leases.find((lease) => textOf(lease) === text)?.settle());
    await dieOf('b');
    await settle('b');
    await dieOf('b');
    expect((await suspects(directory)).texts).toEqual(['b']);
    await settle('b');
    expect((await suspects(directory)).texts).toEqual(['b']);
  });

  test('that is full forgets the oldest that is not suspect, and a suspect one only where all are', async () => {
    const directory = await temporaryDirectory();
    const fs = realFileSystem;
    const log = pino({ level: 'silent' });
    const dieOf = async (index: number) => {
      const inHand = await InHand.open(fs, directory, 'mlflow', log);
      inHand.take({ segment: 1, offset: 16, index });
      const left = await readFile(join(directory, 'mlflow.in-hand'));
      await inHand.close();
      await writeFile(join(directory, 'mlflow.in-hand'), left);
    };
    const suspectOnes = async () => {
      const inHand = await InHand.open(fs, directory, 'mlflow', log);
      const places = Array.from({ length: 2 * MOST_PLACES }, (_, index) => ({
        segment: 1,
        offset: 16,
        index,
      }));
      const found = places.filter((place) => inHand.isSuspect(place)).map(({ index }) => index);
      await inHand.close();
      return found;
    };
    for (let end = 0; end < 3; end += 1) await dieOf(0);
    for (let index = 1; index <= MOST_PLACES; index += 1) await dieOf(index);
    await dieOf(1); // the oldest of those that were no suspects: forgotten, and so this is its first time again
    expect(await suspectOnes()).toEqual([0]);
    for (let index = 3; index <= MOST_PLACES; index += 1) await dieOf(index);
    await dieOf(1);
    const all = [0, 1, ...Array.from({ length: MOST_PLACES - 2 }, (_, i) => i + 3)];
    expect(await suspectOnes()).toEqual(all);
    await dieOf(2);
    await dieOf(2);
    expect(await suspectOnes()).toEqual([1, 2, ...all.slice(2)]);
    expect((await stat(join(directory, 'mlflow.in-hand'))).size).toBe(4096);
  }, 30_000);

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
    ['flipped in its list', (bytes: Buffer) => bytes.map((byte, at) => (at === 80 ? byte ^ 1 : byte))],
    [
      'of an earlier version',
      (bytes: Buffer) => bytes.subarray(0, 64).map((byte, at) => (at === 7 ? 1 : byte)),
    ],
    ['of a later version', (bytes: Buffer) => bytes.map((byte, at) => (at === 7 ? 3 : byte))],
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
