import { join } from 'node:path';
import { RelayError } from '../errors.ts';
import type { FileSystem, OpenFile } from './filesystem.ts';
import {
  FORMAT_VERSION,
  PREFIX_SIZE,
  SEGMENT_HEADER_SIZE,
  TRAILER_SIZE,
  decodeFooter,
  decodePrefix,
  decodeSegmentHeader,
  decodeTrailer,
  encodeFooter,
  encodeSegmentHeader,
  encodeTrailer,
  placeFrame,
} from './frame.ts';

/** How much there is of what, by a key that the log's user chooses; small enough to be kept in memory. */
export type Tally = Record<string, number>;

/** One file of a log, as it is known in memory. */
export type Segment = {
  readonly id: number;
  readonly path: string;
  readonly salt: number;
  /** End of the last synced frame: readers go no further. */
  end: number;
  /** Bytes on disk, the footer among them. */
  size: number;
  readonly tally: Tally;
};

const SUFFIX = '.segment';

export function segmentPath(directory: string, id: number): string {
  return join(directory, String(id).padStart(20, '0') + SUFFIX);
}

/** The id in a segment's file name; `undefined` for any other file. */
export function segmentIdOf(fileName: string): number | undefined {
  const match = /^(\d{20})\.segment$/.exec(fileName);
  return match ? Number(match[1]) : undefined;
}

/** A new, empty segment, durable: file, header and directory entry are synced. */
export async function createSegment(
  fs: FileSystem,
  directory: string,
  id: number,
  salt: number,
): Promise<{ segment: Segment; file: OpenFile }> {
  const path = segmentPath(directory, id);
  const file = await fs.create(path);
  try {
    await file.write([encodeSegmentHeader(id, salt)], 0);
    await file.sync();
    await fs.syncDirectory(directory);
  } catch (error) {
    await file.close().catch(() => {});
    await fs.remove(path).catch(() => {});
    throw error;
  }
  const segment = { id, path, salt, end: SEGMENT_HEADER_SIZE, size: SEGMENT_HEADER_SIZE, tally: {} };
  return { segment, file };
}

/** Writes footer and trailer behind the last frame; from then on the file is never written again. */
export async function sealSegment(segment: Segment, file: OpenFile): Promise<void> {
  const footer = encodeFooter({ tally: segment.tally });
  await file.write(
    [...placeFrame(footer, segment.salt, segment.end), encodeTrailer(segment.end, segment.salt)],
    segment.end,
  );
  await file.sync();
  segment.size = segment.end + footer.size + TRAILER_SIZE;
}

/**
 * What the first bytes of a segment file say; `undefined` if they are damaged or were never written.
 * @throws RelayError QUEUE_FORMAT if another version of the relay wrote it
 */
export async function readSegmentHeader(
  path: string,
  id: number,
  file: OpenFile,
): Promise<number | undefined> {
  const bytes = Buffer.alloc(SEGMENT_HEADER_SIZE);
  await file.read(bytes, 0);
  const header = decodeSegmentHeader(bytes);
  if (header === undefined || header.id !== id) return undefined;
  if (header.version !== FORMAT_VERSION) {
    throw new RelayError(
      'QUEUE_FORMAT',
      `${path} has log format ${header.version}, and this relay reads format ${FORMAT_VERSION}: run the version that wrote it until its queue is empty (waiting_spans is 0), then start this one`,
    );
  }
  return header.salt;
}

/** The segment as its footer describes it; `undefined` if it has none whose checksums hold. */
export async function readSealed(
  path: string,
  id: number,
  salt: number,
  file: OpenFile,
): Promise<Segment | undefined> {
  const size = await file.size();
  if (size < SEGMENT_HEADER_SIZE + PREFIX_SIZE + TRAILER_SIZE) return undefined;
  const trailer = Buffer.alloc(TRAILER_SIZE);
  await file.read(trailer, size - TRAILER_SIZE);
  const end = decodeTrailer(trailer, salt);
  if (end === undefined || end < SEGMENT_HEADER_SIZE || end > size - TRAILER_SIZE - PREFIX_SIZE)
    return undefined;
  const bytes = Buffer.alloc(size - TRAILER_SIZE - end);
  await file.read(bytes, end);
  const prefix = decodePrefix(bytes, 0, salt, end);
  if (prefix?.kind !== 'footer') return undefined;
  const summary = decodeFooter<{ tally: Tally }>(prefix, bytes.subarray(PREFIX_SIZE));
  return summary && { id, path, salt, end, size, tally: summary.tally };
}
