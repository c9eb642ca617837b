import { basename } from 'node:path';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { MemoryDisk } from '../support/memory-disk.ts';
import {
  DAMAGED,
  DEAD_LETTERS,
  POSITIONS,
  SEGMENTS,
  letterOf,
  openOn,
  readAll,
  recordOf,
  settleAll,
  textOf,
} from '../support/queue-in-memory.ts';
import { isLong, progress } from '../support/run.ts';
import { layoutOf } from '../support/segment-layout.ts';

/** A limit for what hangs: all bits are many starts. */
vi.setConfig({ testTimeout: 900_000 });

const TEXTS = ['first', 'second', 'third'];
const LETTERS = ['refused', 'refused too'];
const DESTINATIONS = { destinations: ['mlflow', 'phoenix'] };

type Files = ReadonlyMap<string, Buffer>;

/**
 * A small log: three records, the last one not settled for `mlflow` and none for `phoenix`, and two dead letters. As a
 * queue leaves it that was closed, and as one leaves it that was killed, without footers.
 */
async function smallLog(): Promise<{ closed: Files; killed: Files }> {
  const disk = new MemoryDisk();
  const { queue, reader } = await openOn(disk, DESTINATIONS);
  for (const text of TEXTS) await queue.append([recordOf(text, { to: DESTINATIONS.destinations })]);
  for (const text of LETTERS) await queue.deadLetters.append([letterOf(text)]);
  settleAll((await readAll(reader)).slice(0, 2));
  const killed = disk.files();
  await queue.close();
  const closed = disk.files();
  return { closed, killed: new Map([...killed, ...only(closed, POSITIONS)]) };
}

let logs: Awaited<ReturnType<typeof smallLog>>;
beforeAll(async () => {
  logs = await smallLog();
});

/** One bit of every byte, or all of them in a long run. */
function* bitsOf(length: number): Iterable<number> {
  for (let at = 0; at < length; at++) {
    for (let bit = 0; bit < 8; bit++) if (isLong || bit === at % 8) yield at * 8 + bit;
  }
}

function flip(bytes: Buffer, bit: number): Buffer {
  const flipped = Buffer.from(bytes);
  flipped[bit >> 3]! ^= 1 << (bit & 7);
  return flipped;
}

function only(files: Files, directory: string): [string, Buffer][] {
  return [...files].filter(([path]) => path.startsWith(`${directory}/`));
}

function firstOf(files: Files, directory: string): [string, Buffer] {
  const [first] = only(files, directory);
  if (first === undefined) throw new Error(`no file in ${directory}`);
  return first;
}

/** Opens the log with one file changed, reads it for the destination that has settled nothing, and goes on with it. */
async function openWith(files: Files, path: string, bytes: Buffer) {
  const disk = new MemoryDisk(new Map([...files, [path, bytes]]));
  const { queue, lines, damagedBytes } = await openOn(disk, DESTINATIONS);
  const reader = queue.reader('phoenix');
  const leases = await readAll(reader);
  expect(await queue.append([recordOf('later', { to: ['phoenix'] })])).toBe('stored');
  const later = await readAll(reader);
  expect(later.map(textOf)).toEqual(['later']);
  settleAll([...leases, ...later]);
  expect(queue.status().destinations['phoenix']?.waitingSpans).toBe(0);
  const result = {
    texts: leases.map(textOf),
    aside: [...disk.files(DAMAGED)],
    damagedBytes: await damagedBytes(),
    lines,
  };
  await queue.close();
  return result;
}

/** What was set aside is in a file that the log names, and counted. */
function expectSetAside(
  { aside, damagedBytes, lines }: Awaited<ReturnType<typeof openWith>>,
  path: string,
  bytes: Buffer,
  range: { start: number; end: number },
): void {
  const length = range.end - range.start;
  const file = `${DAMAGED}/${basename(path)}-${range.start}-${length}.bytes`;
  expect(aside).toEqual([[file, bytes.subarray(range.start, range.end)]]);
  expect(damagedBytes).toBe(length);
  expect(lines).toContainEqual(
    expect.objectContaining({ segment: path, offset: range.start, bytes: length, keptIn: file }),
  );
}

function without(hit: number): string[] {
  return TEXTS.filter((_, index) => index !== hit);
}

describe.each(['closed', 'killed'] as const)('a small log that was %s', (state) => {
  test('every bit flip costs the record that it hits, and none where it hits no record', async () => {
    const files = logs[state];
    const [path, bytes] = firstOf(files, SEGMENTS);
    const { records, footer } = layoutOf(bytes);
    expect([records.length, footer !== undefined]).toEqual([3, state === 'closed']);
    for (const bit of bitsOf(bytes.length)) {
      const damaged = flip(bytes, bit);
      const at = bit >> 3;
      const hit = records.findIndex(({ start, end }) => start <= at && at < end);
      const result = await openWith(files, path, damaged);
      expect(result.texts, `bit ${bit}`).toEqual(without(hit));
      const range = records[hit];
      if (range !== undefined) expectSetAside(result, path, damaged, range);
      // A damaged footer is set aside as well.
      expect(at < records[0]!.start ? result.aside : []).toEqual([]);
    }
    progress(`every bit of ${bytes.length} bytes of a log that was ${state}`);
  });

  test('every truncation costs what is cut off, and no more', async () => {
    const files = logs[state];
    const [path, bytes] = firstOf(files, SEGMENTS);
    const { records } = layoutOf(bytes);
    const end = records.at(-1)!.end;
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length);
      const whole = records.filter((record) => record.end <= length);
      const result = await openWith(files, path, cut);
      expect(result.texts, `${length} bytes`).toEqual(TEXTS.slice(0, whole.length));
      const start = whole.at(-1)?.end ?? records[0]!.start;
      if (length < end && length > start) expectSetAside(result, path, cut, { start, end: length });
      // At the end of a record nothing is left to set aside: that the file has no footer is all there is to say.
      expect(result.lines.filter((line) => line['segment'] === path)).not.toEqual([]);
    }
  });

  test('no bit flip and no truncation of the dead letters keeps the queue from starting or from keeping more', async () => {
    const files = logs[state];
    const [path, bytes] = firstOf(files, DEAD_LETTERS);
    const flips = [...bitsOf(bytes.length)].map((bit) => flip(bytes, bit));
    const cuts = Array.from({ length: bytes.length }, (_, length) => bytes.subarray(0, length));
    for (const damaged of [...flips, ...cuts].filter((_, index) => isLong || index % 4 === 0)) {
      const disk = new MemoryDisk(new Map([...files, [path, damaged]]));
      const { queue } = await openOn(disk, DESTINATIONS);
      const before = queue.deadLetters.status().spans['mlflow'] ?? 0;
      const whole = layoutOf(bytes).records.filter(({ start, end }) =>
        damaged.subarray(start, end).equals(bytes.subarray(start, end)),
      );
      expect(before).toBeGreaterThanOrEqual(3 * whole.length);
      await queue.deadLetters.append([letterOf('one more')]);
      expect(queue.deadLetters.status().spans['mlflow']).toBe(before + 3);
      await queue.close();
    }
  });
});

/** Between the slots nothing is ever read. */
function isRead(at: number): boolean {
  return isLong || at % 4096 < 40 || at % 64 === 0;
}

test('no bit flip and no truncation of a position passes over what is not settled, or keeps the queue from starting', async () => {
  const path = `${POSITIONS}/mlflow.position`;
  const bytes = logs.closed.get(path)!;
  const flips = [...bitsOf(bytes.length)].filter((bit) => isRead(bit >> 3)).map((bit) => flip(bytes, bit));
  const cuts = Array.from({ length: bytes.length }, (_, length) => bytes.subarray(0, length));
  const both = [...bitsOf(40)].map((bit) => flip(flip(bytes, bit), bit + 4096 * 8));
  const found = new Set<string>();
  // A ledger tells by itself where its destination is.
  const withoutLedgers = [...logs.closed].filter(([name]) => !name.endsWith('.ledger'));
  for (const damaged of [...flips, ...cuts.filter(({ length }) => isRead(length)), ...both]) {
    const disk = new MemoryDisk(new Map([...withoutLedgers, [path, damaged]]));
    const { queue, reader, lines } = await openOn(disk, DESTINATIONS);
    const leases = await readAll(reader);
    const texts = leases.map(textOf);
    expect(texts).toEqual(TEXTS.slice(-texts.length));
    expect(texts).toContain('third');
    // What has no good slot is told, the fall back to the older one is not: a crash in the middle of a save looks the same.
    const told = lines.some(({ file, msg }) => file === path && /position.*damaged/.test(msg));
    found.add(`${texts.length}${told ? ' told' : ''}`);
    settleAll(leases);
    expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(0);
    await queue.close();
    // The other destination has its own.
    const again = await openOn(disk, DESTINATIONS);
    expect((await readAll(again.queue.reader('phoenix'))).map(textOf)).toEqual(TEXTS);
    expect(await readAll(again.reader)).toEqual([]);
    await again.queue.close();
  }
  expect([...found].toSorted()).toEqual(['1', '3', '3 told']);
});

test('no bit flip and no truncation of a ledger calls settled what is not, or keeps the queue from starting', async () => {
  const path = `${POSITIONS}/mlflow.ledger`;
  const disk = new MemoryDisk();
  const { queue, reader } = await openOn(disk);
  for (const text of TEXTS) await queue.append([recordOf(text)]);
  const [, second, third] = await readAll(reader);
  second!.done([1]);
  third!.settle();
  await queue.close();
  const files = disk.files();
  const bytes = files.get(path)!;
  const flips = Array.from(bitsOf(bytes.length), (bit) => flip(bytes, bit));
  const cuts = Array.from({ length: bytes.length }, (_, length) => bytes.subarray(0, length));
  for (const damaged of [...flips, ...cuts]) {
    const again = await openOn(new MemoryDisk(new Map([...files, [path, damaged]])));
    const leases = await readAll(again.reader);
    expect(leases.map((lease) => `${textOf(lease)} ${lease.left?.size ?? 0}`)).toEqual(
      TEXTS.map((text) => `${text} 0`),
    );
    expect(again.lines).toContainEqual(expect.objectContaining({ level: 40, file: path }));
    expect(again.queue.status().destinations['mlflow']?.recoveredSpans).toBe(9);
    await again.queue.close();
  }
  expect(flips.length).toBeGreaterThan(50);
});
