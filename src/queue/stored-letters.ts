import { RelayError, messageOf } from '../errors.ts';
import { realFileSystem } from './filesystem.ts';
import { letterSegments, lettersDirectory, readLetters } from './letter-reader.ts';
import type { LetterSegment, ReadLetter } from './letter-reader.ts';

export type { LetterMeta, LetterSegment, ReadLetter } from './letter-reader.ts';

/*
 * The dead letters of a queue as a command reads them: by itself, also beside a running relay, which it does not need
 * for that.
 */

/**
 * Oldest first.
 * @param directory of the queue
 * @throws RelayError QUEUE_UNUSABLE
 */
export async function storedSegments(directory: string): Promise<LetterSegment[]> {
  try {
    await realFileSystem.list(directory);
    return await letterSegments(realFileSystem, lettersDirectory(directory));
  } catch (error) {
    throw new RelayError(
      'QUEUE_UNUSABLE',
      `the dead letters of the queue in ${directory} (key queue.directory) cannot be read: ${messageOf(error)}; name the folder of the relay's queue, and run this as the user of the relay`,
      { cause: error },
    );
  }
}

/** @throws RelayError QUEUE_FORMAT */
export async function* storedLetters(
  segment: LetterSegment,
  { withPayloads = false }: { readonly withPayloads?: boolean } = {},
): AsyncGenerator<ReadLetter> {
  for await (const letters of readLetters(realFileSystem, segment, { headersOnly: !withPayloads }))
    yield* letters;
}
