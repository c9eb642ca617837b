import { basename, dirname } from 'node:path';
import { keepAside, putAside } from './damage.ts';
import type { Damage } from './damage.ts';
import { removeIfThere } from './filesystem.ts';
import type { FileSystem, OpenFile } from './filesystem.ts';
import { PREFIX_SIZE, SEGMENT_HEADER_SIZE, encodeFrame, encodeSegmentHeader, placeFrame } from './frame.ts';
import type { Entry, LogContent, UnplacedFrame } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import type { Step } from './frame-reader.ts';
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

/** Neighbouring frames that lose nothing are copied together, about so many bytes at a time. */
const RUN_SIZE = 1024 * 1024;

/** A frame that is whole, or of a later version. */
type Frame<M> = Extract<Step<M>, { kind: 'frame' | 'unknown' }>;
type Place = { readonly offset: number; readonly end: number };

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
  const { fs, segment, keeps, damagedDirectory } = options;
  const file = await fs.open(segment.path);
  try {
    const removed: M[] = [];
    let isAnyKept = false;
    for await (const frame of framesOf(options, file)) {
      const taken = frame.kind === 'frame' ? frame.entries.filter(({ meta }) => !keeps(meta)) : [];
      removed.push(...taken.map(({ meta }) => meta));
      isAnyKept ||= frame.kind === 'unknown' || taken.length < frame.entries.length;
    }
    if (removed.length === 0) return undefined;
    if (!isAnyKept) {
      if (segment.isOnlyCopy) await keepAside(fs, segment.path, damagedDirectory);
      else await unlessDone(fs, segment.path, fs.remove(segment.path));
      return { next: undefined, removed };
    }
    if (segment.isOnlyCopy) throw notSetAside(segment);
    return { next: await replace(options, file), removed };
  } finally {
    await file.close();
  }
}

/** Reads headers only; what is damaged is set aside. */
async function* framesOf<M>(
  { fs, segment, damagedDirectory, onDamage }: RewriteOptions<M>,
  file: OpenFile,
): AsyncGenerator<Frame<M>> {
  const reader = new FrameReader<M>(file, segment.salt, SEGMENT_HEADER_SIZE, true);
  for (;;) {
    const step = await reader.next(segment.end);
    if (step.kind === 'end') return;
    if (step.kind !== 'damage') {
      yield step;
      continue;
    }
    const { offset, end } = step;
    const place = { segment: segment.path, offset, bytes: end - offset, atEnd: end === segment.end };
    if (!(await putAside(fs, file, damagedDirectory, place, onDamage))) throw notSetAside(segment);
  }
}

/** @returns the segment as it is in its new file, which stands in the place of the old one */
async function replace<M>(options: RewriteOptions<M>, from: OpenFile): Promise<Segment> {
  const { fs, segment, content } = options;
  const { id, salt, path } = segment;
  const next: Segment = { ...segment, end: SEGMENT_HEADER_SIZE, tally: new Tally() };
  const newPath = replacementPath(path);
  await removeIfThere(fs, newPath); // of a try that failed
  try {
    const file = await fs.create(newPath);
    try {
      await file.write([encodeSegmentHeader(id, salt, content)], 0);
      await copyKept(options, from, file, next);
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

async function copyKept<M>(
  options: RewriteOptions<M>,
  from: OpenFile,
  to: OpenFile,
  next: Segment,
): Promise<void> {
  const { keeps, count } = options;
  /** Whole frames that stand side by side, and are still to be copied. */
  let run: Place[] = [];
  let runBytes = 0;
  const copyRun = async () => {
    const [first] = run;
    if (first !== undefined) await to.write([await placedAnew(from, run, next)], next.end);
    next.end += runBytes;
    run = [];
    runBytes = 0;
  };
  for await (const frame of framesOf(options, from)) {
    const { offset, end } = frame;
    const size = end - offset;
    const entries = frame.kind === 'frame' ? frame.entries.filter(({ meta }) => keeps(meta)) : [];
    if (frame.kind === 'frame' && entries.length < frame.entries.length) {
      const rest = entries.length === 0 ? undefined : await withoutRemoved(options, from, frame);
      if (rest === undefined) continue;
      await copyRun();
      await to.write(placeFrame(rest.frame, next.salt, next.end), next.end);
      next.end += rest.frame.size;
      countFrame(count, rest.entries, rest.frame.size, next.tally);
    } else {
      if (run.at(-1)?.end !== offset || runBytes + size > RUN_SIZE) await copyRun();
      run.push({ offset, end });
      runBytes += size;
      if (frame.kind === 'frame') {
        const sized = entries.map(({ meta }, at) => ({ meta, payload: { length: frame.sizes[at] ?? 0 } }));
        countFrame(count, sized, size, next.tally);
      }
    }
  }
  await copyRun();
}

/** The bytes of frames that stand side by side, as they are for the end of the new file. */
async function placedAnew(
  file: OpenFile,
  run: readonly Place[],
  { salt, end }: Segment,
): Promise<Uint8Array> {
  const start = run[0]?.offset ?? 0;
  const bytes = Buffer.allocUnsafeSlow((run.at(-1)?.end ?? start) - start);
  await file.read(bytes, start);
  for (const { offset } of run) {
    const at = offset - start;
    placeFrame({ prefix: bytes.subarray(at, at + PREFIX_SIZE), body: [], size: 0 }, salt, end + at);
  }
  return bytes;
}

/** What is kept of a frame; undefined if its payload is damaged, and set aside. */
async function withoutRemoved<M>(
  { fs, segment, keeps, damagedDirectory, onDamage }: RewriteOptions<M>,
  file: OpenFile,
  { offset, end }: Place,
): Promise<{ readonly frame: UnplacedFrame; readonly entries: readonly Entry<M>[] } | undefined> {
  const step = await new FrameReader<M>(file, segment.salt, offset).next(end);
  if (step.kind === 'frame') {
    const entries = step.entries.filter(({ meta }) => keeps(meta));
    return { frame: encodeFrame(entries), entries };
  }
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
