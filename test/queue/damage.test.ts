import { cp, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { open, readAll, record, segmentFiles, temporaryDirectory, textOf } from './helpers.ts';

const TEXTS = ['first', 'second', 'third'];

/** A queue that was killed: its last segment has no footer. */
async function killedQueue() {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory);
  for (const text of TEXTS) await queue.append([record(text)]);
  const [name] = await segmentFiles(directory);
  const bytes = await readFile(join(directory, 'segments', name!));
  const killed = await temporaryDirectory();
  await cp(join(directory, 'segments'), join(killed, 'segments'), { recursive: true });
  await close();
  return { directory: killed, file: join(killed, 'segments', name!), bytes };
}

async function reopen(from: string) {
  const directory = await temporaryDirectory();
  await cp(from, directory, { recursive: true });
  const { queue, metrics, close } = await open(directory);
  const texts = (await readAll(queue.reader('mlflow'))).map(textOf);
  const damaged = (await metrics.queueDamagedBytes.get()).values[0]?.value ?? 0;
  // What was appended after the damage is kept like anything else.
  expect(await queue.append([record('later')])).toBe('stored');
  expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['later']);
  await close();
  const aside = await readdir(join(directory, 'segments', 'damaged')).catch(() => []);
  return { texts, damaged, aside };
}

test('a log that was cut anywhere opens with all whole records before the cut', async () => {
  const { directory, file, bytes } = await killedQueue();
  const lengths = new Set<number>();
  for (let length = 0; length <= bytes.length; length += 3) {
    await writeFile(file, bytes.subarray(0, length));
    const { texts } = await reopen(directory);
    expect(texts).toEqual(TEXTS.slice(0, texts.length));
    lengths.add(texts.length);
    if (length === bytes.length) expect(texts).toEqual(TEXTS);
  }
  expect([...lengths].toSorted()).toEqual([0, 1, 2, ...(bytes.length % 3 === 0 ? [3] : [])]);
}, 120_000);

test('a flipped bit costs the record it is in, and no other; the bytes are put aside', async () => {
  const { directory, file, bytes } = await killedQueue();
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: bytes.length * 8 - 1 }), async (bit) => {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await writeFile(file, flipped);
      const { texts, damaged, aside } = await reopen(directory);
      const inHeader = bit < 32 * 8;
      expect(TEXTS.filter((text) => !texts.includes(text))).toHaveLength(inHeader ? 3 : 1);
      expect(damaged).toBeGreaterThan(0);
      expect(aside).toHaveLength(1);
    }),
    { numRuns: 60 },
  );
}, 120_000);

test('damage in a sealed segment, its footer too, is met by the reader or the start', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  for (const text of TEXTS) await first.queue.append([record(text)]);
  await first.close(); // seals
  const [name] = await segmentFiles(directory);
  const file = join(directory, 'segments', name!);
  const bytes = await readFile(file);
  const secondRecord = bytes.indexOf('second');
  for (const [at, missing] of [
    [secondRecord, ['second']],
    [bytes.length - 1, []], // the trailer: the segment is scanned instead
  ] as const) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1;
    await writeFile(file, damaged);
    const { texts } = await reopen(directory);
    expect(texts).toEqual(TEXTS.filter((text) => !(missing as readonly string[]).includes(text)));
  }
});

test('bytes that look like a frame inside a damaged record are not taken for one', async () => {
  const { directory, file, bytes } = await killedQueue();
  // A whole frame of this very segment, moved into the payload of another one.
  const frame = bytes.subarray(32);
  const inner = await temporaryDirectory();
  const { queue, close } = await open(inner);
  await queue.append([{ ...record('x'), payload: Buffer.from(frame) }, record('y')]);
  const [name] = await segmentFiles(inner);
  const outer = await readFile(join(inner, 'segments', name!));
  outer[40]! ^= 1; // spoils the prefix: the reader has to look for the next one
  await close();
  await writeFile(file, outer);
  expect((await reopen(directory)).texts).toEqual([]);
});

test('a log of another format stops the start and says what to do', async () => {
  const directory = await temporaryDirectory();
  const { close } = await open(directory);
  await close();
  const { encodeSegmentHeader } = await import('../../src/queue/frame.ts');
  const { crc32 } = await import('node:zlib');
  const header = encodeSegmentHeader(7, 1);
  header.writeUInt32LE(2, 8);
  header.writeUInt32LE(crc32(header.subarray(0, 28)), 28);
  await writeFile(join(directory, 'segments', '00000000000000000007.segment'), header);
  await expect(open(directory)).rejects.toMatchObject({
    code: 'QUEUE_FORMAT',
    message: expect.stringMatching(/format 2, and this relay reads format 1: run the version that wrote it/),
  });
});

test('a position whose newest slot is damaged falls back to the one before it', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  for (const text of TEXTS) await first.queue.append([record(text)]);
  for (const lease of await readAll(first.queue.reader('mlflow'))) lease.settle();
  await first.queue.append([record('fourth')]);
  await first.close();
  const file = join(directory, 'positions', 'mlflow');
  const bytes = await readFile(file);
  for (const slot of [0, 4096]) {
    const damaged = Buffer.from(bytes);
    damaged[slot + 17]! ^= 1;
    await writeFile(file, damaged);
    const copy = await temporaryDirectory();
    await cp(directory, copy, { recursive: true });
    const { queue } = await open(copy);
    // At worst more comes again; the record that was never settled always does.
    expect((await readAll(queue.reader('mlflow'))).map(textOf)).toContain('fourth');
  }
});
