import { basename, dirname } from 'node:path';
import { keepAside, putAside } from './damage.ts';
import type { Damage } from './damage.ts';
import { removeIfThere } from './filesystem.ts';
import type { FileSystem, OpenFile } from './filesystem.ts';
import { PREFIX_SIZE, SEGMENT_HEADER_SIZE, encodeFrame, encodeSegmentHeader, placeFrame } from './frame.ts';
import type { LogContent, UnplacedFrame } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { countFrame } from './recovery.ts';
import type { Count } from './recovery.ts';
import { replacementPath, sealSegment } from './segment.ts';
import type { Segment } from './segment.ts';
import { Tally } from './tally.ts';

type RewriteOptions<M> = {
  readonly fs: FileSystem;
  /** Nothing is written to it any more, and nobody reads it meanwhile. */
  readonly segment: Segment;
  readonly content: LogContent;
  readonly count: Count<M>;
  readonly keeps: (meta: M) => boolean;
  readonly damagedDirectory: string;
  readonly onDamage: (damage: Damage) => void;
};

/** A frame of which something is kept, by its place in the old file. */
type KeptFrame<M> = {
  readonly offset: number;
  readonly end: number;
  /** Without those that are taken out; undefined for a frame of a later version. */
  readonly entries:
    readonly { readonly meta: M; readonly payload: { readonly length: number } }[] | undefined;
  readonly isWhole: boolean;
};

type Plan<M> = { readonly kept: readonly KeptFrame<M>[]; readonly removed: M[] };

/**
 * Takes entries out of the midst of a segment: the others go into a file of their own, with the same id and salt, which
 * is synced and then put in the place of the old one by rename(2). At any moment, and after any crash, the one or the
 * other is there, whole. Where nothing is kept the file is removed, which takes no room.
 *
 * A frame that loses nothing is copied as it is, its checksums too: damage in its payload is found by whoever reads it.
 * Damage between frames is set aside first; where that fails the segment stays as it was.
 *
 * @returns what the segment is from now on, undefined if it is gone; undefined if there was nothing to take out. The
 *   folder is not synced yet. Rejects when the disk fails or is full, and then nothing has changed.
 */
export async function rewriteSegment<M>(
  options: RewriteOptions<M>,
): Promise<{ readonly next: Segment | undefined; readonly removed: M[] } | undefined> {
  const { fs, segment, damagedDirectory } = options;
  const file = await fs.open(segment.path);
  try {
    const { kept, removed } = await plan(options, file);
    if (removed.length === 0) return undefined;
    if (kept.length === 0) {
      if (segment.isOnlyCopy) await keepAside(fs, segment.path, damagedDirectory);
      else await unlessDone(fs, segment.path, fs.remove(segment.path));
      return { next: undefined, removed };
    }
    if (segment.isOnlyCopy) throw notSetAside(segment);
    return { next: await replace(options, file, kept), removed };
  } finally {
    await file.close();
  }
}

/** Reads headers only. */
async function plan<M>(options: RewriteOptions<M>, file: OpenFile): Promise<Plan<M>> {
  const { fs, segment, keeps, damagedDirectory, onDamage } = options;
  const reader = new FrameReader<M>(file, segment.salt, SEGMENT_HEADER_SIZE, true);
  const kept: KeptFrame<M>[] = [];
  const removed: M[] = [];
  for (;;) {
    const step = await reader.next(segment.end);
    if (step.kind === 'end') return { kept, removed };
    const { offset, end } = step;
    if (step.kind === 'unknown') {
      kept.push({ offset, end, entries: undefined, isWhole: true });
    } else if (step.kind === 'damage') {
      const place = { segment: segment.path, offset, bytes: end - offset, atEnd: end === segment.end };
      if (!(await putAside(fs, file, damagedDirectory, place, onDamage))) throw notSetAside(segment);
    } else {
      const entries = step.entries.flatMap(({ meta }, index) =>
        keeps(meta) ? [{ meta, payload: { length: step.sizes[index] ?? 0 } }] : [],
      );
      const isWhole = entries.length === step.entries.length;
      if (!isWhole) removed.push(...step.entries.flatMap(({ meta }) => (keeps(meta) ? [] : [meta])));
      if (entries.length > 0) kept.push({ offset, end, entries, isWhole });
    }
  }
}

/** @returns the segment as it is in its new file, which stands in the place of the old one */
async function replace<M>(
  options: RewriteOptions<M>,
  from: OpenFile,
  kept: readonly KeptFrame<M>[],
): Promise<Segment> {
  const { fs, segment, content, count } = options;
  const { id, salt, path } = segment;
  const next: Segment = { ...segment, end: SEGMENT_HEADER_SIZE, tally: new Tally() };
  const newPath = replacementPath(path);
  await removeIfThere(fs, newPath); // of a try that failed
  try {
    const file = await fs.create(newPath);
    try {
      await file.write([encodeSegmentHeader(id, salt, content)], 0);
      for (const each of kept) {
        const frame = await frameOf(options, from, each);
        if (frame === undefined) continue;
        await file.write(placeFrame(frame, salt, next.end), next.end);
        next.end += frame.size;
        if (each.entries !== undefined) countFrame(count, each.entries, frame.size, next.tally);
      }
      await sealSegment(next, file);
    } finally {
      await file.close();
    }
    await unlessDone(fs, newPath, fs.rename(newPath, path));
  } catch (error) {
    await fs.remove(newPath).catch(() => {}); // else it is when the log is opened
    throw error;
  }
  return next;
}

/** What is kept of a frame; undefined if its payload is damaged, and set aside. */
async function frameOf<M>(
  { fs, segment, keeps, damagedDirectory, onDamage }: RewriteOptions<M>,
  file: OpenFile,
  { offset, end, isWhole }: KeptFrame<M>,
): Promise<UnplacedFrame | undefined> {
  if (isWhole) {
    const bytes = Buffer.allocUnsafeSlow(end - offset);
    await file.read(bytes, offset);
    return {
      prefix: bytes.subarray(0, PREFIX_SIZE),
      body: [bytes.subarray(PREFIX_SIZE)],
      size: bytes.length,
    };
  }
  const step = await new FrameReader<M>(file, segment.salt, offset).next(end);
  if (step.kind === 'frame') return encodeFrame(step.entries.filter(({ meta }) => keeps(meta)));
  const place = { segment: segment.path, offset, bytes: end - offset, atEnd: false };
  if (await putAside(fs, file, damagedDirectory, place, onDamage)) return undefined;
  throw notSetAside(segment);
}

function notSetAside({ path }: Segment): Error {
  return new Error(`${path} has damaged bytes that could not be set aside: nothing is taken out of it`);
}

/** A disk may say that it has failed after it has done what it was told: then the file is not there any more. */
async function unlessDone(fs: FileSystem, path: string, work: Promise<void>): Promise<void> {
  await work.catch(async (error: unknown) => {
    if ((await fs.list(dirname(path))).includes(basename(path))) throw error;
  });
}
