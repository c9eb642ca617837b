import { cp, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import {
  LogContent,
  PREFIX_SIZE,
  encodeFrame,
  encodeSegmentHeader,
  placeFrame,
} from '../../src/queue/frame.ts';
import { open, readAll, record, segmentFiles, temporaryDirectory, textOf } from './support.ts';

const TEXTS = ['first', 'second', 'third'];

/** A queue that was killed: its last segment has no footer. */
async function killedQueue(destinations = ['mlflow']) {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory, { destinations });
  for (const text of TEXTS) await queue.append([record(text, { to: destinations })]);
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
  const header = encodeSegmentHeader(7, 1, LogContent.queue);
  header.writeUInt32LE(2, 8);
  header.writeUInt32LE(crc32(header.subarray(0, 28)), 28);
  await writeFile(join(directory, 'segments', '00000000000000000007-00000001.segment'), header);
  await expect(open(directory)).rejects.toMatchObject({
    code: 'QUEUE_FORMAT',
    message: expect.stringMatching(/format 2, and this relay reads format 1: run the version that wrote it/),
  });
});

test('a position without a good slot is a damaged one, not a new destination: nothing is passed over', async () => {
  const directory = await temporaryDirectory();
  const destinations = ['mlflow', 'phoenix'];
  const first = await open(directory, { destinations });
  for (const text of TEXTS) await first.queue.append([record(text, { to: destinations })]);
  for (const lease of await readAll(first.queue.reader('mlflow'))) lease.settle();
  await first.close();
  await writeFile(join(directory, 'positions', 'phoenix.position'), '');
  const second = await open(directory, { destinations });
  expect((await readAll(second.queue.reader('phoenix'))).map(textOf)).toEqual(TEXTS);
});

test('other files in the folders of the queue are left alone', async () => {
  const directory = await temporaryDirectory();
  const first = await open(directory);
  await first.queue.append([record('a')]);
  await first.close();
  for (const folder of ['positions', 'segments']) {
    await mkdir(join(directory, folder, 'lost+found'));
    await writeFile(join(directory, folder, 'mlflow~'), 'x');
  }
  const { queue } = await open(directory);
  expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['a']);
});

test('a whole frame of a kind that is not known is passed over', async () => {
  const { directory, file, bytes } = await killedQueue();
  const salt = Number.parseInt(/-([0-9a-f]{8})\.segment$/.exec(file)![1]!, 16);
  const unknown = encodeFrame([]);
  unknown.prefix.writeUInt32LE(7, 4);
  const frame = encodeFrame([{ meta: { ...record('x'), spans: 1 }, payload: Buffer.from('behind') }]);
  await writeFile(
    file,
    Buffer.concat([
      bytes,
      ...placeFrame(unknown, salt, bytes.length),
      ...placeFrame(frame, salt, bytes.length + unknown.size),
    ]),
  );
  const { texts, damaged } = await reopen(directory);
  expect(texts).toEqual([...TEXTS, 'behind']);
  expect(damaged).toBe(0);
  expect(unknown.size).toBeGreaterThanOrEqual(PREFIX_SIZE);
});

test('damage at the end is cut off only when a copy of it is kept', async () => {
  const { directory, file, bytes } = await killedQueue();
  await writeFile(file, bytes.subarray(0, bytes.length - 2));
  const name = basename(file);
  const full: FileSystem = {
    ...realFileSystem,
    create: (path) =>
      path.includes('damaged') ? Promise.reject(new Error('ENOSPC')) : realFileSystem.create(path),
  };
  const first = await open(directory, { fs: full });
  await first.close();
  expect((await stat(file)).size).toBe(bytes.length - 2);
  const second = await open(directory);
  await second.close();
  const [kept] = await readdir(join(directory, 'segments', 'damaged'));
  expect(kept).toMatch(new RegExp(`^${name}-`));
});

test('damage that two destinations meet is told once, and copied once', async () => {
  const { directory, file, bytes } = await killedQueue(['mlflow', 'phoenix']);
  const damaged = Buffer.from(bytes);
  damaged[bytes.indexOf('second')]! ^= 1;
  await writeFile(file, damaged);
  const { queue, metrics } = await open(directory, { destinations: ['mlflow', 'phoenix'] });
  const read = async (name: string) => (await readAll(queue.reader(name))).map(textOf);
  const both = await Promise.all([read('mlflow'), read('phoenix')]);
  expect(both).toEqual([
    ['first', 'third'],
    ['first', 'third'],
  ]);
  const kept = await readdir(join(directory, 'segments', 'damaged'));
  expect(kept).toHaveLength(1);
  const size = (await stat(join(directory, 'segments', 'damaged', kept[0] ?? ''))).size;
  expect((await metrics.queueDamagedBytes.get()).values[0]?.value).toBe(size);
});

test('a segment with damage that could not be copied is kept, also when the relay was started again in between', async () => {
  const { directory, file, bytes } = await killedQueue();
  const damaged = Buffer.from(bytes);
  damaged[bytes.indexOf('second')]! ^= 1;
  await writeFile(file, damaged);
  const fs: FileSystem = {
    ...realFileSystem,
    create: (path) =>
      path.includes('.bytes') ? Promise.reject(new Error('ENOSPC')) : realFileSystem.create(path),
  };
  const first = await open(directory, { fs });
  const [leaseOfFirst, leaseOfThird] = await readAll(first.queue.reader('mlflow'));
  leaseOfFirst?.settle();
  expect(textOf(leaseOfThird!)).toBe('third');
  await first.close();

  const second = await open(directory);
  for (const lease of await readAll(second.queue.reader('mlflow'))) lease.settle();
  await expect
    .poll(() => readdir(join(directory, 'segments', 'damaged')), { timeout: 10_000 })
    .toEqual([basename(file)]);
});
