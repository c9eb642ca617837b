import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { RelayError, messageOf } from '../errors.ts';
import { isDiskFull, realFileSystem } from './filesystem.ts';
import { ANSWER_DEADLINE_MS, inboxDirectory, inboxFiles, putFile, takeFile } from './letter-inbox.ts';
import type { InboxFiles } from './letter-inbox.ts';
import { lettersDirectory } from './letter-reader.ts';
import { nothingDone } from './letter-requests.ts';
import type { LetterAnswer, LetterRequest } from './letter-requests.ts';
import { isLocked, lockHolder } from './lock.ts';

const LOOK_EVERY_MS = 20;

/** A relay that is well has answered by then. */
const TELL_AFTER_MS = 2000;
const LOOK_FOR_RELAY_EVERY_MS = 1000;

export type Asking = {
  /** Of the queue. */
  readonly directory: string;
  /** Takes back what is asked, if the relay has not begun. */
  readonly interrupted?: AbortSignal;
  /** Tells a person what is waited for. */
  readonly say?: (words: string) => void;
  readonly deadlineMs?: number;
};

/**
 * Asks the relay that has the queue open, and waits for its answer, for as long as there is a relay.
 * @throws RelayError QUEUE_UNUSABLE
 */
export async function askRunningRelay(
  { directory, interrupted, say = () => {}, deadlineMs = ANSWER_DEADLINE_MS }: Asking,
  asked: LetterRequest,
): Promise<LetterAnswer> {
  const fs = realFileSystem;
  const inbox = inboxDirectory(lettersDirectory(directory));
  const files = inboxFiles(inbox, randomUUID());
  await putRequest(inbox, files, asked);
  const start = performance.now();
  const relay = `the relay (${lockHolder(directory)})`;
  let nextLookForRelay = TELL_AFTER_MS;
  let isInterrupted = false;
  let isMissing = false;
  for (; ; await pause(LOOK_EVERY_MS)) {
    const waited = performance.now() - start;
    let isGone = false;
    if (waited > nextLookForRelay) {
      if (nextLookForRelay === TELL_AFTER_MS) say(`waiting for ${relay}…`);
      nextLookForRelay += LOOK_FOR_RELAY_EVERY_MS;
      isGone = !isLocked(directory);
    }

    const names = new Set(await fs.list(inbox));
    if (names.has(basename(files.answer))) {
      const outcome = (await takeFile(fs, files.answer)) as LetterAnswer;
      await fs.remove(files.answer).catch(() => {});
      return outcome;
    }
    if (isGone) return nothingDone(`${relay} has gone; ${await takeBack(files)}; run it again for the rest`);
    if (waited > deadlineMs)
      return nothingDone(
        `${relay} has not answered within ${deadlineMs / 1000} seconds; ${await takeBack(files)}; its log says more`,
      );
    if (interrupted?.aborted === true && !isInterrupted) {
      isInterrupted = true;
      const words = await takeBack(files);
      if (words === WITHDRAWN) return nothingDone(`it was interrupted; ${words}; run it again for the rest`);
      say(`${words}; waiting for its end (a second signal ends this command at once)`);
    }
    // While it is renamed a file may be in no list: what is missing twice is gone.
    const wasMissing = isMissing;
    isMissing = !names.has(basename(files.request)) && !names.has(basename(files.begun));
    if (wasMissing && isMissing)
      return nothingDone(
        `${relay} has done what it could, and could not say how much: its disk may be full, and its log says more`,
      );
  }
}

async function putRequest(inbox: string, files: InboxFiles, asked: LetterRequest): Promise<void> {
  try {
    await realFileSystem.makeDirectory(inbox);
    await putFile(realFileSystem, files.request, asked);
  } catch (error) {
    throw new RelayError(
      'QUEUE_UNUSABLE',
      `the running relay cannot be asked, as nothing can be written in ${inbox}: ${messageOf(error)}${isDiskFull(error) ? '; make room, or stop the relay and try again: without it, discarding needs no room' : ''}`,
      { cause: error },
    );
  }
}

const WITHDRAWN = 'withdrawn: the relay had not begun';

/** @returns what became of the request */
async function takeBack({ request }: InboxFiles): Promise<string> {
  return realFileSystem.remove(request).then(
    () => WITHDRAWN,
    (error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT'
        ? 'already under way: it may still be done'
        : `it could not be withdrawn (${messageOf(error)}): it may still be done`,
  );
}
