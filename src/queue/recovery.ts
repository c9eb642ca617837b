import { join } from 'node:path';
import type { FileSystem, OpenFile } from './filesystem.ts';
import { SEGMENT_HEADER_SIZE } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { readSealed, readSegmentHeader, sealSegment, segmentIdOf, segmentPath } from './segment.ts';
import type { Segment, Tally } from './segment.ts';

/** Bytes of the log that failed their checksums. */
export type Damage = {
  readonly segment: string;
  readonly offset: number;
  readonly bytes: number;
  /** Where they were put aside; undefined if the disk would not take them. */
  readonly keptIn: string | undefined;
};

/** Adds what an entry counts for to a segment's tally. */
export type Count<M> = (meta: M, tally: Tally) => void;

/**
 * What is on disk, oldest first, every segment sealed: a start of the log, in one function.
 *
 * A sealed segment is known by its footer and is not read. A segment without one was being written when the
 * process or the machine stopped (or its footer is damaged): its frames are checked one by one. What stands
 * behind the last good frame is a write that was cut, and was never acknowledged, or damage; from the bytes
 * one cannot tell, so they are put aside, the file is cut there, and sealed. Nothing here makes the start fail
 * but a log of another format, or a folder that cannot be listed.
 */
export async function recoverSegments<M>(
  fs: FileSystem,
  directory: string,
  damagedDirectory: string,
  count: Count<M>,
  onDamage: (damage: Damage) => void,
): Promise<Segment[]> {
  const ids = (await fs.list(directory)).map(segmentIdOf).filter((id) => id !== undefined);
  const segments: Segment[] = [];
  for (const id of ids.toSorted((a, b) => a - b)) {
    const path = segmentPath(directory, id);
    const file = await fs.open(path);
    try {
      const salt = await readSegmentHeader(path, id, file);
      const size = await file.size();
      if (salt === undefined) {
        // A header is synced before the first frame is written: without one there was never a frame, or it
        // is damaged, and the frames cannot be checked.
        if (size > 0) await setAside(file, path, 0, size);
        await fs.remove(path);
        continue;
      }
      const sealed = await readSealed(path, id, salt, file);
      segments.push(sealed ?? (await scanAndSeal(path, id, salt, size, file)));
    } finally {
      await file.close();
    }
  }
  return segments;

  async function setAside(file: OpenFile, path: string, offset: number, bytes: number): Promise<boolean> {
    const damage = await putAside(fs, file, path, damagedDirectory, offset, bytes);
    if (damage) onDamage(damage);
    return damage === undefined || damage.keptIn !== undefined;
  }

  async function scanAndSeal(path: string, id: number, salt: number, size: number, file: OpenFile) {
    const segment: Segment = { id, path, salt, end: SEGMENT_HEADER_SIZE, size, tally: {} };
    const reader = new FrameReader<M>(file, salt, SEGMENT_HEADER_SIZE);
    for (let step = await reader.next(size); ; step = await reader.next(size)) {
      if (step.kind === 'frame') {
        for (const entry of step.entries) count(entry.meta, segment.tally);
        segment.end = step.end;
      } else if (step.kind === 'end') {
        size = step.offset; // less than before only where a footer was cut
        break;
      }
      // Damage between good frames is put aside when a reader meets it.
    }
    if (segment.end < size) {
      const kept = await setAside(file, path, segment.end, size - segment.end);
      if (!kept) return segment;
    }
    try {
      await file.truncate(segment.end);
      await sealSegment(segment, file);
    } catch {
      // A full or failing disk: the segment is as good without a footer, and is scanned again next time.
    }
    return segment;
  }
}

/**
 * Copies damaged bytes into a file of their own, for a person to look at.
 * `undefined` if they were put aside before: each place is told of once.
 */
export async function putAside(
  fs: FileSystem,
  file: OpenFile,
  path: string,
  directory: string,
  offset: number,
  bytes: number,
): Promise<Damage | undefined> {
  const id = /(\d+)\.segment$/.exec(path)?.[1] ?? 'unknown';
  const target = join(directory, `${id}-${offset}-${bytes}.bytes`);
  try {
    const content = Buffer.alloc(bytes);
    const length = await file.read(content, offset);
    await fs.makeDirectory(directory);
    const copy = await fs.create(target);
    try {
      await copy.write([content.subarray(0, length)], 0);
      await copy.sync();
    } finally {
      await copy.close();
    }
    await fs.syncDirectory(directory);
    return { segment: path, offset, bytes, keptIn: target };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    return { segment: path, offset, bytes, keptIn: undefined };
  }
}
