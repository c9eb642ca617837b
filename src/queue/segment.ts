import { randomInt } from 'node:crypto';
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
import type { LogContent } from './frame.ts';
import { Tally } from './tally.ts';

/** One file of a log, as it is known in memory. */
export type Segment = {
  readonly id: number;
  readonly path: string;
  readonly salt: number;
  /** End of the last synced frame: readers go no further. */
  end: number;
  /** Bytes on disk, the footer among them. */
  size: number;
  tally: Tally;
  /** Damage in it could not be copied: it is kept when its records are not needed any more. */
  isOnlyCopy?: boolean;
};

/** Id and salt of a segment, both in its file's name. */
export type SegmentName = { readonly id: number; readonly salt: number };

function segmentPath(directory: string, { id, salt }: SegmentName): string {
  return join(directory, `${String(id).padStart(20, '0')}-${salt.toString(16).padStart(8, '0')}.segment`);
}

/** `undefined` for any other file. */
export function parseSegmentName(fileName: string): SegmentName | undefined {
  const [, id, salt] = /^(\d{20})-([0-9a-f]{8})\.segment$/.exec(fileName) ?? [];
  return id === undefined || salt === undefined
    ? undefined
    : { id: Number(id), salt: Number.parseInt(salt, 16) };
}

/** Where what will stand in the place of a segment is written. */
export function replacementPath(path: string): string {
  return `${path}.new`;
}

export function isReplacement(fileName: string): boolean {
  return fileName.endsWith('.segment.new');
}

/** A new, empty segment, durable: file, header and directory entry are synced. */
export async function createSegment(
  fs: FileSystem,
  directory: string,
  id: number,
  content: LogContent,
): Promise<{ segment: Segment; file: OpenFile }> {
  const salt = randomInt(2 ** 32);
  const path = segmentPath(directory, { id, salt });
  const file = await fs.create(path);
  try {
    await file.write([encodeSegmentHeader(id, salt, content)], 0);
    await file.sync();
    await fs.syncDirectory(directory);
  } catch (error) {
    await file.close().catch(() => {});
    await fs.remove(path).catch(() => {});
    throw error;
  }
  const segment = { id, path, salt, end: SEGMENT_HEADER_SIZE, size: SEGMENT_HEADER_SIZE, tally: new Tally() };
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
 * Checks that this relay can read the segment. A damaged header is passed over: the file's name says the rest. So is
 * that of another segment, which may show up in a file that power loss has left longer than what was written to it.
 * @throws RelayError QUEUE_FORMAT if another version of the relay wrote it, or it belongs to another folder
 */
export async function checkSegmentHeader(
  path: string,
  name: SegmentName,
  file: OpenFile,
  content: LogContent,
): Promise<void> {
  const bytes = Buffer.alloc(SEGMENT_HEADER_SIZE);
  await file.read(bytes, 0);
  const header = decodeSegmentHeader(bytes);
  if (header === undefined || header.id !== name.id || header.salt !== name.salt) return;
  if (header.version !== FORMAT_VERSION) {
    throw new RelayError(
      'QUEUE_FORMAT',
      `${path} has log format ${header.version}, and this relay reads format ${FORMAT_VERSION}: run the version that wrote it until its queue is empty (waiting_spans is 0), then start this one`,
    );
  }
  if (header.content !== content) {
    throw new RelayError(
      'QUEUE_FORMAT',
      `${path} is a segment of another log (queue and dead letters have a folder each): move it back to where it came from`,
    );
  }
}

/** The segment as its footer describes it; `undefined` if it has none whose checksums hold. */
export async function readSealed(
  path: string,
  name: SegmentName,
  file: OpenFile,
): Promise<Segment | undefined> {
  const size = await file.size();
  const trailerOffset = size - TRAILER_SIZE;
  if (trailerOffset < SEGMENT_HEADER_SIZE + PREFIX_SIZE) return undefined;
  const trailer = Buffer.alloc(TRAILER_SIZE);
  await file.read(trailer, trailerOffset);
  const end = decodeTrailer(trailer, name.salt);
  if (end === undefined || end < SEGMENT_HEADER_SIZE || end > trailerOffset - PREFIX_SIZE) return undefined;
  const bytes = Buffer.alloc(trailerOffset - end);
  await file.read(bytes, end);
  const prefix = decodePrefix(bytes, 0, name.salt, end);
  if (prefix?.kind !== 'footer') return undefined;
  const summary = decodeFooter<{ tally: unknown }>(prefix, bytes.subarray(PREFIX_SIZE));
  return summary && { id: name.id, salt: name.salt, path, end, size, tally: Tally.fromJSON(summary.tally) };
}
