import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { RelayError, messageOf } from '../errors.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { isDiskFull, realFileSystem } from './filesystem.ts';
import { inboxDirectory, inboxFiles, putFile, takeFile } from './letter-inbox.ts';
import { lettersDirectory } from './letter-reader.ts';
import type { LetterAnswer, LetterRequest } from './letter-requests.ts';
import { openQueue } from './segment-queue.ts';

/** One request is of one segment at most; a disk that is that slow is in trouble. */
const ANSWER_DEADLINE_MS = 120_000;
const LOOK_EVERY_MS = 20;

/** Who changes dead letters for a command: the relay that runs on the directory, or this process. */
export type LetterWork = {
  readonly isRelay: boolean;
  /** @throws RelayError QUEUE_LOCKED when the relay does not answer */
  carryOut(request: LetterRequest): Promise<LetterAnswer>;
  close(): Promise<void>;
};

/** @throws RelayError QUEUE_UNUSABLE, QUEUE_FORMAT */
export async function openLetterWork(options: {
  directory: string;
  maxBytes: number;
  destinations: readonly string[];
}): Promise<LetterWork> {
  try {
    // What the queue would log the command says in its own words, or the relay when it starts.
    const queue = await openQueue(options, { log: createLogger('fatal'), metrics: createMetrics() });
    return {
      isRelay: false,
      carryOut: (request) => queue.letterDesk.carryOut(request),
      close: () => queue.close(),
    };
  } catch (error) {
    if (!(error instanceof RelayError) || error.code !== 'QUEUE_LOCKED') throw error;
    const inbox = inboxDirectory(lettersDirectory(options.directory));
    return {
      isRelay: true,
      carryOut: (request) => askRunningRelay(inbox, request, error),
      close: () => Promise.resolve(),
    };
  }
}

async function askRunningRelay(
  inbox: string,
  asked: LetterRequest,
  locked: RelayError,
): Promise<LetterAnswer> {
  const fs = realFileSystem;
  const { request, answer } = inboxFiles(inbox, randomUUID());
  try {
    await fs.makeDirectory(inbox);
    await putFile(fs, request, asked);
  } catch (error) {
    throw new RelayError(
      'QUEUE_UNUSABLE',
      `the running relay cannot be asked, as nothing can be written in ${inbox}: ${messageOf(error)}${isDiskFull(error) ? '; make room, or stop the relay and try again: without it, discarding needs no room' : ''}`,
      { cause: error },
    );
  }
  for (const end = Date.now() + ANSWER_DEADLINE_MS; Date.now() < end; await pause(LOOK_EVERY_MS)) {
    const names = new Set(await fs.list(inbox));
    if (names.has(basename(answer))) {
      const outcome = (await takeFile(fs, answer)) as LetterAnswer;
      await fs.remove(answer).catch(() => {});
      return outcome;
    }
    if (!names.has(basename(request))) {
      throw notAnswered(locked, 'has done what it could, and could not answer: its disk may be full');
    }
  }
  await fs.remove(request).catch(() => {});
  throw notAnswered(locked, 'has not answered');
}

function notAnswered(locked: RelayError, what: string): RelayError {
  return new RelayError(
    'QUEUE_LOCKED',
    `${locked.message}. It was asked to change dead letters and ${what}; its log says more`,
    { cause: locked },
  );
}
