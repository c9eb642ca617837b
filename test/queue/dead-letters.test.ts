import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DeadLetterStore } from '../../src/queue/dead-letters.ts';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem, OpenFile } from '../../src/queue/filesystem.ts';
import {
  LogContent,
  encodeFooter,
  encodeFrame,
  encodeSegmentHeader,
  encodeTrailer,
  placeFrame,
} from '../../src/queue/frame.ts';
import { Tally } from '../../src/queue/tally.ts';
import { carryOut, letterOf, lettersIn } from './letters.ts';
import { open, readAll, record, temporaryDirectory, textOf } from './support.ts';

const textsIn = async (directory: string) => (await lettersIn(directory)).map(({ text }) => text);
const folderOf = (directory: string) => join(directory, 'dead-letters');

const DONE = { unconfigured: 0, stopped: undefined };

describe('discarding', () => {
  test('takes letters out of the midst of what was appended together, and leaves the others as they were', async () => {
    const directory = await temporaryDirectory();
    const { queue, metrics, close } = await open(directory);
    await queue.deadLetters.append(['a', 'b', 'c'].map((text) => letterOf(text)));
    await queue.deadLetters.append([letterOf('d', { spanCount: 5 })]);
    await queue.deadLetters.append([letterOf('e')]);
    const before = await lettersIn(directory);

    const chosen = before.filter(({ text }) => 'bd'.includes(text));
    expect(await carryOut(queue, 'discard', chosen)).toEqual({ ...DONE, letters: 2, spans: 6 });
    expect(queue.deadLetters.status().spans).toEqual({ mlflow: 3 });
    expect((await metrics.discardedSpans.get()).values).toEqual([
      { labels: { destination: 'mlflow' }, value: 6 },
    ]);
    const kept = before.filter((letter) => !chosen.includes(letter));
    expect(await lettersIn(directory)).toEqual(kept);
    // Again nothing is there to be discarded.
    expect(await carryOut(queue, 'discard', chosen)).toEqual({ ...DONE, letters: 0, spans: 0 });

    await queue.deadLetters.append([letterOf('f')]);
    await close();
    const again = await open(directory);
    expect(again.queue.deadLetters.status().spans).toEqual({ mlflow: 4 });
    expect(await textsIn(directory)).toEqual(['a', 'c', 'e', 'f']);
  });

  test('all of a segment removes its file', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory);
    await queue.deadLetters.append([letterOf('a'), letterOf('b')]);
    const bytes = queue.deadLetters.status().bytes;
    await carryOut(queue, 'discard', await lettersIn(directory));
    expect(queue.deadLetters.status().bytes).toBeLessThan(bytes);
    const files = (await readdir(folderOf(directory))).filter((name) => name.endsWith('.segment'));
    expect(files).toHaveLength(1);
    expect(await lettersIn(directory)).toEqual([]);
  });

  test('letters that come meanwhile are kept', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory);
    await queue.deadLetters.append([letterOf('a'), letterOf('b')]);
    const [first] = await lettersIn(directory);
    const texts = Array.from({ length: 50 }, (_, i) => `later ${i}`);
    await Promise.all([
      ...texts.map((text) => queue.deadLetters.append([letterOf(text)])),
      carryOut(queue, 'discard', [first!]),
    ]);
    expect((await textsIn(directory)).toSorted()).toEqual(['b', ...texts].toSorted());
  });

  test('asked of a segment that has no letters, changes nothing', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory);
    const before = await readdir(folderOf(directory));
    const name = before.find((each) => each.endsWith('.segment'));
    const request = { segment: Number(name!.slice(0, 20)), ids: ['none'] };
    for (const action of ['replay', 'discard'] as const)
      expect(await queue.letterDesk.carryOut({ action, ...request })).toMatchObject({ letters: 0 });
    expect(await readdir(folderOf(directory))).toEqual(before);
    await queue.deadLetters.append([letterOf('a')]);
    expect(await lettersIn(directory)).toMatchObject([{ segment: request.segment, text: 'a' }]);
  });

  test('copies many letters at a time, and each as it was', async () => {
    const directory = await temporaryDirectory();
    let calls = 0;
    const counted = (file: OpenFile): OpenFile => ({
      ...file,
      read: (...args) => (calls++, file.read(...args)),
      write: (...args) => (calls++, file.write(...args)),
    });
    const fs: FileSystem = {
      ...realFileSystem,
      create: async (path) => counted(await realFileSystem.create(path)),
      open: async (path, how) => counted(await realFileSystem.open(path, how)),
    };
    const { queue } = await open(directory, { fs, maxBytes: 2 ** 30 });
    const sizes = Array.from({ length: 1500 }, (_, i) => (i % 400 === 0 ? 1_500_000 : 40 * (i % 90)));
    await Promise.all(
      sizes.map((bytes, i) =>
        queue.deadLetters.append([letterOf(`${i};`, { bytes }), letterOf(`second ${i}`)]),
      ),
    );
    const before = await lettersIn(directory);
    expect(new Set(before.map(({ segment }) => segment)).size).toBe(1);
    const chosen = before.filter((_, i) => [0, 777, 1200, 1201, 2999].includes(i));
    calls = 0;
    expect(await carryOut(queue, 'discard', chosen)).toMatchObject({ letters: 5, stopped: undefined });
    expect(calls).toBeLessThan(200);
    expect(await lettersIn(directory)).toEqual(before.filter((letter) => !chosen.includes(letter)));
    expect(queue.deadLetters.status().spans).toEqual({ mlflow: 2995 });
  });

  test('what is written is for the user of the relay alone', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory);
    await queue.deadLetters.append([letterOf('a'), letterOf('b')]);
    await carryOut(queue, 'discard', (await lettersIn(directory)).slice(0, 1));
    for (const name of await readdir(folderOf(directory))) {
      expect((await stat(join(folderOf(directory), name))).mode & 0o777).toBe(0o600);
    }
  });

  test('a damaged letter beside it is set aside, with its bytes', async () => {
    const directory = await temporaryDirectory();
    const first = await open(directory);
    for (const text of ['good', 'damaged', 'chosen']) await first.queue.deadLetters.append([letterOf(text)]);
    await first.close();
    const name = (await readdir(folderOf(directory))).find((each) => each.endsWith('.segment'))!;
    const file = join(folderOf(directory), name);
    const bytes = await readFile(file);
    bytes[bytes.indexOf('refused: damaged')]! ^= 1; // in a header
    await writeFile(file, bytes);

    const { queue } = await open(directory);
    const letters = await lettersIn(directory);
    expect(letters.map(({ text }) => text)).toEqual(['good', 'chosen']);
    await carryOut(queue, 'discard', letters.slice(1));
    expect(await textsIn(directory)).toEqual(['good']);
    const [aside] = await readdir(join(folderOf(directory), 'damaged'));
    const kept = await readFile(join(folderOf(directory), 'damaged', aside!), 'latin1');
    expect(kept).toContain('efused: damaged');
  });
});

describe('replaying', () => {
  test('puts a letter into the queue for its destination alone, as it was sent, and received now', async () => {
    const directory = await temporaryDirectory();
    const { queue, metrics } = await open(directory, { destinations: ['mlflow', 'phoenix'] });
    const route = { name: 'mine', destinations: ['mlflow', 'phoenix'], variables: { team: 'x' } };
    await queue.deadLetters.append([letterOf('a', { route, spanCount: 3 }), letterOf('b')]);
    const before = Date.now();
    const [first] = await lettersIn(directory);
    expect(await carryOut(queue, 'replay', [first!])).toEqual({ ...DONE, letters: 1, spans: 3 });

    const [lease, ...others] = await readAll(queue.reader('mlflow'));
    expect(others).toEqual([]);
    expect(textOf(lease!)).toBe('a');
    expect(lease!.record).toMatchObject({
      spanCount: 3,
      sender: 'spiffe://test/sender',
      route: { ...route, destinations: ['mlflow'] },
    });
    expect(lease!.record.receivedAt).toBeGreaterThanOrEqual(before);
    expect(await readAll(queue.reader('phoenix'))).toEqual([]);
    expect(queue.deadLetters.status().spans).toEqual({ mlflow: 1 });
    expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(3);
    expect((await metrics.discardedSpans.get()).values).toEqual([]);
    expect(await textsIn(directory)).toEqual(['b']);
  });

  test('at any moment a letter is counted once: dead, or waiting', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory);
    await queue.deadLetters.append(Array.from({ length: 300 }, (_, i) => letterOf(`${i}`, { spanCount: 2 })));
    const sums = new Set<number>();
    let isOver = false;
    const look = () => {
      const { spans } = queue.deadLetters.status();
      sums.add((spans['mlflow'] ?? 0) + (queue.status().destinations['mlflow']?.waitingSpans ?? 0));
      if (!isOver) setImmediate(look);
    };
    look();
    await carryOut(queue, 'replay', await lettersIn(directory));
    isOver = true;
    expect([...sums]).toEqual([600]);
    expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(600);
  });

  test('a letter that could not be removed is not replayed again, nor counted as dead', async () => {
    const directory = await temporaryDirectory();
    let fails = true;
    const fs: FileSystem = {
      ...realFileSystem,
      async rename(from, to) {
        if (fails && from.endsWith('.segment.new')) throw Object.assign(new Error('EIO'), { code: 'EIO' });
        await realFileSystem.rename(from, to);
      },
    };
    const { queue, metrics } = await open(directory, { fs });
    await queue.deadLetters.append([letterOf('a'), letterOf('b')]);
    const letters = (await lettersIn(directory)).slice(0, 1);
    expect(await carryOut(queue, 'replay', letters)).toMatchObject({
      letters: 1,
      stopped: expect.stringContaining('could not be removed'),
    });
    expect(await textsIn(directory)).toEqual(['a', 'b']);
    expect(queue.deadLetters.status().spans).toEqual({ mlflow: 1 });
    fails = false;
    // Discarding it then is no loss: it is in the queue.
    expect(await carryOut(queue, 'discard', letters)).toMatchObject({ letters: 0, stopped: undefined });
    expect((await metrics.discardedSpans.get()).values).toEqual([]);
    expect(await textsIn(directory)).toEqual(['b']);
    expect(queue.deadLetters.status().spans).toEqual({ mlflow: 1 });
    expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['a']);
  });

  test('of a destination that is not configured it stays, and the others go', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory);
    await queue.deadLetters.append([letterOf('a', { destination: 'gone' }), letterOf('b')]);
    expect(await carryOut(queue, 'replay', await lettersIn(directory))).toEqual({
      ...DONE,
      letters: 1,
      spans: 1,
      unconfigured: 1,
    });
    expect(await textsIn(directory)).toEqual(['a']);
  });

  test('stops when the queue is full, and says so; what was replayed is not dead any more', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory, { maxBytes: 1024 * 1024 });
    for (let i = 0; i < 5; i++) await queue.deadLetters.append([letterOf(`${i}`, { bytes: 40_000 })]);
    // A record a sender, so that none has more than its share.
    const fill = async (sender: number) =>
      queue.append([{ ...record('x', { bytes: 30_000 }), sender: `${sender}` }]);
    let senders = 0;
    while ((await fill(senders)) === 'stored') senders++;
    const answer = await carryOut(queue, 'replay', await lettersIn(directory));
    expect(answer.stopped).toMatch(/the queue is (nearly )?full/);
    expect(await lettersIn(directory)).toHaveLength(5 - answer.letters);
  });
});

test('letters are read from a disk that can only be read', async () => {
  const directory = await temporaryDirectory();
  const { queue } = await open(directory);
  await queue.deadLetters.append([letterOf('a')]);
  const [segment] = await lettersIn(directory, {
    ...realFileSystem,
    open: (path, how) =>
      how?.readOnly ? realFileSystem.open(path, how) : Promise.reject(new Error('EROFS: read-only')),
  });
  expect(segment).toMatchObject({ text: 'a' });
  const name = (await readdir(folderOf(directory))).find((each) => each.endsWith('.segment'));
  const file = await realFileSystem.open(join(folderOf(directory), name!), { readOnly: true });
  await expect(file.write([Buffer.from('x')], 0)).rejects.toMatchObject({ code: 'EBADF' });
  await file.close();
});

test('footers that count by destination alone are read, and hold nobody', async () => {
  const directory = await temporaryDirectory();
  const salt = 7;
  const { payload, ...meta } = letterOf('old', { bytes: 300_000, sender: 'a', spanCount: 4 });
  const frame = encodeFrame([{ meta: { ...meta, status: undefined, repaired: undefined }, payload }]);
  const tally = new Tally();
  tally.add('mlflow', 'mlflow', { records: 1, spans: 4, bytes: frame.size }, meta.receivedAt);
  const footerAt = 32 + frame.size;
  const file = Buffer.concat([
    encodeSegmentHeader(1, salt, LogContent.deadLetters),
    ...placeFrame(frame, salt, 32),
    ...placeFrame(encodeFooter({ tally }), salt, footerAt),
    encodeTrailer(footerAt, salt),
  ]);
  await realFileSystem.makeDirectory(folderOf(directory));
  await writeFile(join(folderOf(directory), `${'1'.padStart(20, '0')}-00000007.segment`), file);
  const { queue } = await open(directory, { maxBytes: 4 * 1024 * 1024 });
  expect(queue.deadLetters.status().spans).toEqual({ mlflow: 4 });
  expect(queue.status().heldSenders).toEqual([]);
  expect(await carryOut(queue, 'replay', await lettersIn(directory))).toMatchObject({ letters: 1, spans: 4 });
  expect(queue.deadLetters.status().spans['mlflow'] ?? 0).toBe(0);
});

test('on a full disk letters are discarded: what is kept is copied into the room of the reserve', async () => {
  const directory = await temporaryDirectory();
  let isFull = false;
  const hasReserve = async () => (await readdir(directory)).includes('reserve');
  const fs: FileSystem = {
    ...realFileSystem,
    async create(path) {
      if (isFull && path.endsWith('.new') && (await hasReserve()))
        throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
      return realFileSystem.create(path);
    },
  };
  const { queue } = await open(directory, { fs });
  await queue.deadLetters.append([letterOf('a'), letterOf('b')]);
  isFull = true;
  const letters = await lettersIn(directory);
  expect(await carryOut(queue, 'discard', letters.slice(0, 1))).toMatchObject({
    letters: 1,
    stopped: undefined,
  });
  expect(await textsIn(directory)).toEqual(['b']);
});

test('a store is opened without what a rewriting has left', async () => {
  const directory = await temporaryDirectory();
  await realFileSystem.makeDirectory(directory);
  const leftOver = `${'1'.padStart(20, '0')}-00000007.segment.new`;
  await writeFile(join(directory, leftOver), 'half');
  const store = await DeadLetterStore.open({
    fs: realFileSystem,
    directory,
    maxBytes: 1024 * 1024,
    room: () => 1024 * 1024,
    reserve: { release: async () => {} },
    observer: { damaged() {}, unread() {}, failing() {}, recovered() {} },
    mark: 0,
    idsAbove: 0,
    onFound() {},
    beforeRemoval: async () => {},
  });
  await store.close();
  expect(await readdir(directory)).not.toContain(leftOver);
});
