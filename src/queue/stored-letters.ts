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
    throw unreadable(
      `the queue in ${directory} (key queue.directory)`,
      error,
      "name the folder of the relay's queue, and run this as the user of the relay",
    );
  }
}

function unreadable(where: string, cause: unknown, whatToDo: string): RelayError {
  return new RelayError(
    'QUEUE_UNUSABLE',
    `the dead letters of ${where} cannot be read: ${messageOf(cause)}; ${whatToDo}`,
    { cause },
  );
}

/** @throws RelayError QUEUE_UNUSABLE, QUEUE_FORMAT */
export async function* storedLetters(
  segment: LetterSegment,
  { withPayloads = false }: { readonly withPayloads?: boolean } = {},
): AsyncGenerator<ReadLetter> {
  try {
    for await (const letters of readLetters(realFileSystem, segment, { headersOnly: !withPayloads }))
      yield* letters;
  } catch (error) {
    if (error instanceof RelayError) throw error;
    throw unreadable(
      segment.path,
      error,
      "run this as the user of the relay, and look after the queue's disk",
    );
  }
}
