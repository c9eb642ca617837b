import { join } from 'node:path';
import { RelayError } from '../errors.ts';
import { onlyCopies, putAside } from './damage.ts';
import type { Damage } from './damage.ts';
import type { FileSystem, OpenFile } from './filesystem.ts';
import { SEGMENT_HEADER_SIZE } from './frame.ts';
import type { LogContent } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { checkSegmentHeader, isReplacement, parseSegmentName, readSealed, sealSegment } from './segment.ts';
import type { Segment } from './segment.ts';
import { Tally } from './tally.ts';

/** Adds an entry to a segment's tally, with the bytes that it takes on disk. */
export type Count<M> = (meta: M, bytes: number, tally: Tally) => void;

/** Counts the entries of a frame, each with its part of what the frame takes beside the payloads. */
export function countFrame<M>(
  count: Count<M>,
  entries: readonly { readonly meta: M; readonly payload: { readonly length: number } }[],
  frameBytes: number,
  tally: Tally,
): void {
  const payloads = entries.reduce((sum, { payload }) => sum + payload.length, 0);
  const beside = Math.ceil((frameBytes - payloads) / entries.length);
  for (const { meta, payload } of entries) count(meta, payload.length + beside, tally);
}

export type RecoveryOptions<M> = {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly damagedDirectory: string;
  readonly content: LogContent;
  readonly count: Count<M>;
  readonly onDamage: (damage: Damage) => void;
  /** A segment could not be read or sealed for another reason than its content. */
  readonly onTrouble: (segment: string, error: unknown) => void;
  /** A segment has no footer, and so many whole records; it may have been cut where one could not tell. */
  readonly onNotClosed: (segment: string, records: number) => void;
};

/**
 * What is on disk, oldest first: a start of the log, in one function.
 *
 * A sealed segment is known by its footer and is not read. A segment without one was being written when the
 * process or the machine stopped (or its footer is damaged): its frames are checked one by one. What stands
 * behind the last good frame is a write that was cut, and was never acknowledged, or damage; from the bytes
 * one cannot tell, so they are put aside, and only then the file is cut there and sealed. Damage between good
 * frames is put aside when a reader meets it. A disk that cannot be read or written in places does not make the
 * start fail: what cannot be read now is left for the readers to try.
 */
export async function recoverSegments<M>(options: RecoveryOptions<M>): Promise<Segment[]> {
  const { fs, directory, damagedDirectory, content, count, onDamage, onTrouble, onNotClosed } = options;
  const segments: Segment[] = [];
  const kept = await onlyCopies(fs, damagedDirectory);
  for (const fileName of (await fs.list(directory)).toSorted()) {
    const path = join(directory, fileName);
    if (isReplacement(fileName)) await fs.remove(path); // that was not finished
    const name = parseSegmentName(fileName);
    if (name === undefined) continue;
    const file = await fs.open(path);
    try {
      const size = await file.size();
      if (size <= SEGMENT_HEADER_SIZE) {
        await checkSegmentHeader(path, name, file, content);
        onNotClosed(path, 0);
        await fs.remove(path); // never got a frame
        continue;
      }
      const unread: Segment = { ...name, path, end: size, size, tally: new Tally() };
      const segment = await recover(unread, file);
      segment.isOnlyCopy ||= kept.has(fileName);
      segments.push(segment);
    } finally {
      await file.close();
    }
  }
  return segments;

  async function recover(unread: Segment, file: OpenFile): Promise<Segment> {
    try {
      await checkSegmentHeader(unread.path, unread, file, content);
      return (await readSealed(unread.path, unread, file)) ?? (await scanAndSeal(unread, file));
    } catch (error) {
      if (error instanceof RelayError) throw error;
      onTrouble(unread.path, error);
      return unread;
    }
  }

  async function scanAndSeal(unread: Segment, file: OpenFile): Promise<Segment> {
    const segment: Segment = { ...unread, end: SEGMENT_HEADER_SIZE, tally: new Tally() };
    const { path } = segment;
    let limit = unread.size;
    let records = 0;
    const reader = new FrameReader<M>(file, segment.salt, SEGMENT_HEADER_SIZE);
    for (let step = await reader.next(limit); ; step = await reader.next(limit)) {
      if (step.kind === 'frame') {
        countFrame(count, step.entries, step.end - step.offset, segment.tally);
        records += step.entries.length;
        segment.end = step.end;
      } else if (step.kind === 'unknown') {
        segment.end = step.end; // not ours to cut off
      } else if (step.kind === 'end') {
        limit = step.offset; // less than the size only where a footer was cut
        break;
      }
    }
    onNotClosed(path, records);
    if (segment.end < limit) {
      const place = { segment: path, offset: segment.end, bytes: limit - segment.end, atEnd: true };
      segment.isOnlyCopy = !(await putAside(fs, file, damagedDirectory, place, onDamage));
      if (segment.isOnlyCopy) return segment;
    }
    try {
      await file.sync(); // a footer tells of frames that are on stable storage, and the process before may not have got there
      await file.truncate(segment.end);
      await sealSegment(segment, file);
    } catch (error) {
      onTrouble(path, error); // the segment is as good without a footer, and is scanned again next time
    }
    return segment;
  }
}
