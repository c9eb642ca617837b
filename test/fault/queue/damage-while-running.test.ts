import { basename } from 'node:path';
import { expect, test } from 'vitest';
import { FailingDisk } from '../support/failing-disk.ts';
import { pass, useFakeTimers } from '../support/fake-time.ts';
import type { OpenFile } from '../../../src/queue/filesystem.ts';
import { MemoryDisk, systemError } from '../support/memory-disk.ts';
import {
  DAMAGED,
  SEGMENTS,
  openOn,
  readAll,
  recordOf,
  settleAll,
  textOf,
} from '../support/queue-in-memory.ts';
import { layoutOf } from '../support/segment-layout.ts';

useFakeTimers();

function segmentsOf(disk: MemoryDisk): string[] {
  return [...disk.files(SEGMENTS).keys()].filter((path) => path.endsWith('.segment')).toSorted();
}

test('spans of a record that is damaged in the segment being written wait no more, once all is read', async () => {
  const disk = new MemoryDisk();
  const { queue, reader } = await openOn(disk, { maxBytes: 1024 * 1024 * 1024 });
  // More than what a reader right behind the writer has from memory.
  const texts = Array.from({ length: 18 }, (_, i) => `record ${i}`);
  for (const text of texts) await queue.append([recordOf(text, { bytes: 1024 * 1024 })]);
  const [segment] = segmentsOf(disk);
  disk.change(segment!, (bytes) => {
    bytes[layoutOf(Buffer.from(bytes)).records[0]!.start + 40]! ^= 1; // its header: who knows what was in it
  });
  const leases = await readAll(reader);
  expect(leases.map(textOf)).toEqual(texts.slice(1));
  expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(3 * leases.length);
  settleAll(leases);
  await queue.append([recordOf('later')]);
  expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(3);
  await queue.close();
});

/** Three records in a segment that is damaged, on a disk where copies of the damage cannot be made. */
async function damagedOnFullDisk() {
  const disk = new MemoryDisk();
  const before = await openOn(disk);
  for (const text of ['a', 'b', 'c']) await before.queue.append([recordOf(text)]);
  await before.queue.close();
  const segment = segmentsOf(disk)[0]!;
  const range = layoutOf(disk.files().get(segment)!).records[1]!;
  disk.change(segment, (bytes) => void (bytes[range.end - 1]! ^= 1));
  const bytes = disk.files().get(segment)!;
  return { disk, segment, range, bytes };
}

test('damage that cannot be copied is named, and its segment is kept instead of removed', async () => {
  const { disk, segment, range, bytes } = await damagedOnFullDisk();
  const full = new FailingDisk(disk, [
    { call: 'create', path: DAMAGED, nth: 1, lasts: true, code: 'ENOSPC', effect: 'none' },
  ]);
  const { queue, reader, lines } = await openOn(full);
  const leases = await readAll(reader);
  expect(leases.map(textOf)).toEqual(['a', 'c']);
  const line = lines.find(({ offset }) => offset === range.start);
  expect(line).toMatchObject({ segment, bytes: range.end - range.start });
  expect(line).not.toHaveProperty('keptIn');
  expect(line?.msg).toContain('their segment will be kept');
  settleAll(leases);
  await pass(2);
  expect(segmentsOf(disk)).not.toContain(segment);
  expect(disk.files(DAMAGED)).toEqual(new Map([[`${DAMAGED}/${basename(segment)}`, bytes]]));
  await queue.close();
});

/** Reads of some bytes of a file fail, as of a disk with a bad sector. */
class DiskWithBadSector extends MemoryDisk {
  bad: { readonly path: string; readonly start: number; readonly end: number } | undefined;

  override async open(path: string): Promise<OpenFile> {
    const file = await super.open(path);
    return {
      ...file,
      read: async (into, position) => {
        const { bad } = this;
        if (bad?.path === path && position < bad.end && position + into.length > bad.start)
          throw systemError('EIO', 'read');
        return file.read(into, position);
      },
    };
  }
}

async function withBadSector() {
  const disk = new DiskWithBadSector();
  const before = await openOn(disk);
  const texts = Array.from({ length: 12 }, (_, i) => `record ${i}`);
  for (const text of texts) await before.queue.append([recordOf(text, { bytes: 10_000 })]);
  await before.queue.close();
  const path = segmentsOf(disk)[0]!;
  const { records } = layoutOf(disk.files().get(path)!);
  // A block within the payload of the third record.
  const start = Math.ceil((records[2]!.start + 1000) / 4096) * 4096;
  return { disk, texts, records, bad: { path, start, end: start + 4096 } };
}

test('a sector that cannot be read holds up nothing in front of it, and when it can be read again, nothing is lost', async () => {
  const { disk, texts, bad } = await withBadSector();
  const { queue, reader, damagedBytes } = await openOn(disk);
  disk.bad = bad;
  const read = async () => (await readAll(reader)).map(textOf);
  expect(await read()).toEqual(texts.slice(0, 2));
  for (let second = 0; second < 50; second++) {
    await pass(1);
    expect(await read()).toEqual([]);
  }
  disk.bad = undefined;
  await pass(1);
  expect(await read()).toEqual(texts.slice(2));
  expect(await damagedBytes()).toBe(0);
  await queue.close();
});

test('a sector that can never be read is damage in the end: what is left of its record is set aside, the rest comes', async () => {
  const { disk, texts, records, bad } = await withBadSector();
  const { queue, reader, lines } = await openOn(disk);
  disk.bad = bad;
  const leases = await readAll(reader);
  for (let second = 0; second < 70; second++) {
    await pass(1);
    leases.push(...(await readAll(reader)));
  }
  expect(leases.map(textOf)).toEqual(texts.filter((text) => text !== 'record 2'));
  settleAll(leases);
  expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(0);
  const { start, end } = records[2]!;
  const keptIn = `${DAMAGED}/${basename(bad.path)}-${start}-${end - start}.bytes`;
  expect(lines).toContainEqual(expect.objectContaining({ segment: bad.path, offset: start, keptIn }));
  const expected = Buffer.from(disk.files().get(bad.path)!).fill(0, bad.start, bad.end);
  expect(disk.files().get(keptIn)).toEqual(expected.subarray(start, end));
  await pass(2);
  // For better tools than reading it.
  expect([...disk.files(DAMAGED).keys()]).toContain(`${DAMAGED}/${basename(bad.path)}`);
  await queue.close();
});

test('a disk that gives nothing and takes nothing is waited for, however long', async () => {
  const { disk, texts, bad } = await withBadSector();
  const full = new FailingDisk(disk, [
    { call: 'create', path: DAMAGED, nth: 1, lasts: true, code: 'EIO', effect: 'none' },
  ]);
  const { queue, reader, damagedBytes } = await openOn(full);
  disk.bad = { ...bad, start: 0, end: Infinity };
  for (let second = 0; second < 200; second++) {
    expect(await readAll(reader)).toEqual([]);
    await pass(1);
  }
  disk.bad = undefined;
  full.heal();
  await pass(1);
  expect((await readAll(reader)).map(textOf)).toEqual(texts);
  expect(await damagedBytes()).toBe(0);
  await queue.close();
  expect(full.openHandles).toBe(0);
});
