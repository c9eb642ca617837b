import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import { letterSegments, readLetters } from '../../src/queue/letter-reader.ts';
import type { LetterMeta } from '../../src/queue/letter-reader.ts';
import type { DeadLetter } from '../../src/queue/queue.ts';
import type { open } from './support.ts';

/** A letter whose payload is this text, or so many bytes of it. */
export function letterOf(text: string, more: Partial<DeadLetter> & { bytes?: number } = {}): DeadLetter {
  const { bytes = text.length, ...rest } = more;
  return {
    id: randomUUID(),
    payload: Buffer.alloc(bytes, text),
    spanCount: 1,
    destination: 'mlflow',
    target: 'experiment 1',
    sender: 'spiffe://test/sender',
    route: { name: 'default', destinations: ['mlflow'], variables: {} },
    receivedAt: 1_700_000_000_000,
    refusedAt: 1_700_000_001_000,
    attempts: 1,
    status: 400,
    reason: `refused: ${text}`,
    repaired: undefined,
    ...rest,
  };
}

export type StoredLetter = { readonly segment: number; readonly meta: LetterMeta; readonly text: string };

/** What is in the folder of a queue, in order. */
export async function lettersIn(directory: string, fs: FileSystem = realFileSystem): Promise<StoredLetter[]> {
  const found: StoredLetter[] = [];
  for (const segment of await letterSegments(fs, join(directory, 'dead-letters'))) {
    for await (const letters of readLetters(fs, segment)) {
      for (const { meta, payload } of letters)
        found.push({ segment: segment.id, meta, text: Buffer.from(payload).toString() });
    }
  }
  return found;
}

/** Requests for these letters, one for each segment. */
function requestsFor(action: 'replay' | 'discard', letters: readonly StoredLetter[]) {
  return [...new Set(letters.map(({ segment }) => segment))].map((segment) => ({
    action,
    segment,
    ids: letters.filter((letter) => letter.segment === segment).map(({ meta }) => meta.id),
  }));
}

type Queue = Awaited<ReturnType<typeof open>>['queue'];

/** What came of it, in all. */
export async function carryOut(queue: Queue, action: 'replay' | 'discard', letters: readonly StoredLetter[]) {
  const sum = { letters: 0, spans: 0, unconfigured: 0, stopped: undefined as string | undefined };
  for (const request of requestsFor(action, letters)) {
    const answer = await queue.letterDesk.carryOut(request);
    sum.letters += answer.letters;
    sum.spans += answer.spans;
    sum.unconfigured += answer.unconfigured;
    sum.stopped ??= answer.stopped;
  }
  return sum;
}
