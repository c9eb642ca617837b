import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { MemoryDisk } from '../support/memory-disk.ts';
import {
  DAMAGED,
  SEGMENTS,
  openOn,
  readAll,
  recordOf,
  settleAll,
  textOf,
} from '../support/queue-in-memory.ts';
import { howMany, progress } from '../support/run.ts';
import { layoutOf } from '../support/segment-layout.ts';

const RUNS = howMany({ short: 50, long: 1000 });
const RECORDS = 260;
/** Segments of a sixteenth of it. */
const MAX_BYTES = 8 * 1024 * 1024;
const SETTLED = 90;

/** Where each record stands that is not settled, in the order of the log. */
type Place = { readonly text: string; readonly path: string; readonly start: number; readonly end: number };

let files: ReadonlyMap<string, Buffer>;
let places: readonly Place[];
let segments: readonly [string, Buffer][];

beforeAll(async () => {
  const disk = new MemoryDisk();
  const { queue, reader } = await openOn(disk, { maxBytes: MAX_BYTES });
  for (let i = 0; i < RECORDS; i++) {
    await queue.append([recordOf(`record ${i}`, { bytes: 100 + ((i * 7919) % 40_000) })]);
  }
  const leases = await readAll(reader);
  settleAll(leases.slice(0, SETTLED));
  await queue.close(); // saves the position, and removes what all are past
  const again = await openOn(disk, { maxBytes: MAX_BYTES });
  for (let i = RECORDS; i < RECORDS + 10; i++) await again.queue.append([recordOf(`record ${i}`)]);
  files = disk.files(); // the last segment has no footer
  await again.queue.close();
  segments = [...files].filter(([path]) => path.endsWith('.segment') && path.startsWith(SEGMENTS)).toSorted();
  places = segments
    .flatMap(([path, bytes]) =>
      layoutOf(bytes).records.map(({ start, end }) => {
        const text = /record \d+/.exec(bytes.toString('latin1', start, end))?.[0] ?? '';
        return { text, path, start, end };
      }),
    )
    .slice(-(RECORDS + 10 - SETTLED));
});

type Blow = {
  readonly kind: 'flip' | 'overwrite' | 'zero page' | 'cut';
  readonly at: number;
  readonly length: number;
};

const blow: fc.Arbitrary<Blow> = fc.record({
  kind: fc.constantFrom('flip', 'overwrite', 'zero page', 'cut'),
  /** Among all bytes of all segments. */
  at: fc.nat(2 ** 31),
  length: fc.integer({ min: 1, max: 60_000 }),
});

/** The segments with these blows dealt to them. */
function damage(blows: readonly Blow[]): Map<string, Buffer> {
  const damaged = new Map(segments.map(([path, bytes]) => [path, Buffer.from(bytes)]));
  const total = segments.reduce((sum, [, bytes]) => sum + bytes.length, 0);
  for (const { kind, at, length } of blows) {
    let offset = at % total;
    const hit = segments.find(([, bytes]) => offset < bytes.length || ((offset -= bytes.length), false));
    if (hit === undefined) throw new Error('out of the log');
    const [path] = hit;
    const bytes = damaged.get(path)!;
    if (offset >= bytes.length) continue; // cut off by an earlier blow
    if (kind === 'cut') damaged.set(path, bytes.subarray(0, offset));
    else if (kind === 'flip') bytes[offset]! ^= 1 << (length & 7);
    else if (kind === 'zero page') bytes.subarray(offset & ~4095, (offset & ~4095) + 4096).fill(0);
    else for (let i = offset; i < Math.min(bytes.length, offset + length); i++) bytes[i] = (i * length) >> 3;
  }
  return damaged;
}

function isWhole({ path, start, end }: Place, damaged: ReadonlyMap<string, Buffer>): boolean {
  return damaged.get(path)!.subarray(start, end).equals(files.get(path)!.subarray(start, end));
}

let done = 0;
test(`a log of several MiB, damaged at random ${RUNS} times: what is damaged is set aside, the rest is delivered`, async () => {
  expect(places[0]?.text).toBe(`record ${SETTLED}`);
  expect(segments.length).toBeGreaterThan(5);
  await fc.assert(
    fc.asyncProperty(fc.array(blow, { minLength: 1, maxLength: 3 }), async (blows) => {
      const damaged = damage(blows);
      const disk = new MemoryDisk(new Map([...files, ...damaged]));
      const { queue, reader, lines, damagedBytes } = await openOn(disk, { maxBytes: MAX_BYTES });
      const leases = await readAll(reader);
      const expected = places.filter((place) => isWhole(place, damaged));
      expect(leases.map(textOf)).toEqual(expected.map(({ text }) => text));
      expect(await queue.append([recordOf('later')])).toBe('stored');
      const later = await readAll(reader);
      expect(later.map(textOf)).toEqual(['later']);
      settleAll([...leases, ...later]);
      expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(0);

      // All that is left of the records that were lost is in files of its own, each named in a line, and counted.
      const aside = disk.files(DAMAGED);
      const told = lines.filter((line) => typeof line['keptIn'] === 'string');
      expect(told.map((line) => line['keptIn']).toSorted()).toEqual([...aside.keys()].toSorted());
      for (const line of told) {
        const { segment, offset, bytes, keptIn } = line as Record<string, unknown> as {
          segment: string;
          offset: number;
          bytes: number;
          keptIn: string;
        };
        expect(aside.get(keptIn)).toEqual(damaged.get(segment)!.subarray(offset, offset + bytes));
      }
      expect(await damagedBytes()).toBe([...aside.values()].reduce((sum, { length }) => sum + length, 0));
      for (const { path, start, end, text } of places.filter((place) => !expected.includes(place))) {
        const left = Math.min(end, damaged.get(path)!.length);
        const isKept = told.some(
          ({ segment, offset, bytes }) =>
            segment === path && (offset as number) <= start && (offset as number) + (bytes as number) >= left,
        );
        expect(isKept || left <= start, `${text} is kept`).toBe(true);
      }
      await queue.close();
      if (++done % 100 === 0) progress(`${done} of ${RUNS} damaged logs`);
    }),
    { numRuns: RUNS },
  );
}, 600_000);
