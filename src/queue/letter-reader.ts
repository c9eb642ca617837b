import { join } from 'node:path';
import type { FileSystem } from './filesystem.ts';
import { LogContent, SEGMENT_HEADER_SIZE } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import type { DeadLetter } from './queue.ts';
import { checkSegmentHeader, parseSegmentName } from './segment.ts';
import type { SegmentName } from './segment.ts';

/** What is written beside a letter's payload. The id names it for good, wherever its bytes are moved. */
export type LetterMeta = Omit<DeadLetter, 'payload' | 'onKept'>;

export type ReadLetter = {
  readonly meta: LetterMeta;
  /** Empty where headers only are read. */
  readonly payload: Uint8Array;
  readonly payloadSize: number;
};

export type LetterSegment = SegmentName & { readonly path: string };

/** Folder of the dead letters in that of a queue. */
export function lettersDirectory(queueDirectory: string): string {
  return join(queueDirectory, 'dead-letters');
}

/** Segments of dead letters, oldest first; none where there is no folder. */
export async function letterSegments(fs: FileSystem, directory: string): Promise<LetterSegment[]> {
  const names = await fs.list(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.toSorted().flatMap((fileName) => {
    const name = parseSegmentName(fileName);
    return name === undefined ? [] : [{ ...name, path: join(directory, fileName) }];
  });
}

/**
 * The letters of a segment in order, those of one append together. It may be written to, replaced or removed by a
 * running relay meanwhile: what is read is what was there, and of what is being written as much as is whole.
 *
 * @throws RelayError QUEUE_FORMAT if another version wrote it
 */
export async function* readLetters(
  fs: FileSystem,
  segment: LetterSegment,
  how: { readonly headersOnly?: boolean; readonly limit?: number } = {},
): AsyncGenerator<ReadLetter[]> {
  const file = await fs.open(segment.path, { readOnly: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return;
  try {
    await checkSegmentHeader(segment.path, segment, file, LogContent.deadLetters);
    const limit = how.limit ?? (await file.size());
    const reader = new FrameReader<LetterMeta>(file, segment.salt, SEGMENT_HEADER_SIZE, how.headersOnly);
    for (;;) {
      const step = await reader.next(limit);
      if (step.kind === 'end') return;
      if (step.kind !== 'frame') continue;
      yield step.entries.map(({ meta, payload }, at) => ({
        meta,
        payload,
        payloadSize: step.sizes[at] ?? 0,
      }));
    }
  } finally {
    await file.close();
  }
}
