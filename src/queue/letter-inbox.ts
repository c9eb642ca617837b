import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Notices } from '../telemetry/notice.ts';
import { removeIfThere } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';
import { nothingDone } from './letter-requests.ts';
import type { LetterAnswer, LetterRequest } from './letter-requests.ts';

/** While nobody asks. */
const LOOK_EVERY_MS = 1000;
/** While somebody does: the next part of what a command wants comes as soon as the one before is answered. */
const LOOK_AGAIN_MS = 20;
const STAY_AWAKE_MS = 2000;

/** A command waits so long for an answer: one request is of one segment at most, and a disk that is that slow in trouble. */
export const ANSWER_DEADLINE_MS = 120_000;

/** Far above what a command puts into one request. */
const MAX_REQUEST_BYTES = 64 * 1024 * 1024;

const REQUEST = '.json';
const BEGUN = '.begun';
const ANSWER = '.answer';
const UNFINISHED = '.partial';

/** Where commands put requests to a running relay, in the folder of the dead letters. */
export function inboxDirectory(lettersDirectory: string): string {
  return join(lettersDirectory, 'inbox');
}

export type InboxFiles = { readonly request: string; readonly begun: string; readonly answer: string };

/**
 * Files of one request: what is asked, that it is under way, and what became of it. It is renamed from the first to the
 * second by the relay, or removed by the command that takes it back: one of the two comes first.
 */
export function inboxFiles(inbox: string, id: string): InboxFiles {
  const at = (ending: string) => join(inbox, id + ending);
  return { request: at(REQUEST), begun: at(BEGUN), answer: at(ANSWER) };
}

/** Puts a file there whole, on stable storage, or not at all. */
export async function putFile(fs: FileSystem, path: string, content: unknown): Promise<void> {
  const partial = path + UNFINISHED;
  await removeIfThere(fs, partial);
  try {
    const file = await fs.create(partial);
    try {
      await file.write([Buffer.from(JSON.stringify(content))], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await fs.rename(partial, path);
  } catch (error) {
    await fs.remove(partial).catch(() => {});
    throw error;
  }
}

export async function takeFile(fs: FileSystem, path: string): Promise<unknown> {
  const file = await fs.open(path);
  try {
    const size = await file.size();
    if (size > MAX_REQUEST_BYTES) throw new Error(`it has ${size} bytes`);
    const bytes = Buffer.alloc(size);
    await file.read(bytes, 0);
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } finally {
    await file.close();
  }
}

const DONE: Readonly<Record<LetterRequest['action'], string>> = {
  replay: 'replayed dead letters, as a command has asked',
  discard: 'discarded dead letters, as a command has asked',
};

export type LetterInboxOptions = {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly carryOut: (request: LetterRequest) => Promise<LetterAnswer>;
  readonly log: Logger;
};

/**
 * Does what commands ask for beside a running relay. What was asked before it started is not done: who asked may have
 * gone since, and what a stop has cut off would be found half done.
 */
export class LetterInbox {
  readonly #options: LetterInboxOptions;
  readonly #troubles = new Notices();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #awakeUntil = 0;
  #isTidy = false;
  #isClosed = false;

  constructor(options: LetterInboxOptions) {
    this.#options = options;
    this.#looking = this.#look().then(() => this.#wait());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #wait(): void {
    if (this.#isClosed) return;
    const delay = performance.now() < this.#awakeUntil ? LOOK_AGAIN_MS : LOOK_EVERY_MS;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().then(() => this.#wait());
    }, delay);
    this.#timer.unref();
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    try {
      const names = await this.#list();
      for (const name of names) {
        if (this.#isClosed) return;
        if (!this.#isTidy) await this.#tidy(name);
        else if (name.endsWith(REQUEST)) {
          await this.#answer(name.slice(0, -REQUEST.length));
          this.#awakeUntil = performance.now() + STAY_AWAKE_MS;
        }
      }
      this.#isTidy = true;
    } catch (error) {
      this.#tell(error);
    }
  }

  async #list(): Promise<string[]> {
    const { fs, directory } = this.#options;
    const names = await fs.list(directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []; // nobody has asked yet
      throw error;
    });
    return names.toSorted();
  }

  /** What was there before the start. */
  async #tidy(name: string): Promise<void> {
    const { fs, directory, log } = this.#options;
    const path = join(directory, name);
    if (name.endsWith(REQUEST) || name.endsWith(BEGUN)) {
      const asked = await this.#read(path);
      log.warn(
        { action: asked?.action, letters: asked?.ids.length },
        'what a command asked for dead letters before this start is not done; run it again if it is still wanted',
      );
      const id = name.slice(0, name.lastIndexOf('.'));
      await this.#put(id, nothingDone('the relay was started meanwhile; run it again for the rest'));
    } else if (!(await this.#isLeftOver(name))) return;
    await removeIfThere(fs, path);
  }

  /** Of a relay or a command that was killed: nobody reads it any more. */
  async #isLeftOver(name: string): Promise<boolean> {
    const { fs, directory } = this.#options;
    if (!name.endsWith(REQUEST + UNFINISHED)) return true;
    const writtenAt = await fs.modifiedAt(join(directory, name)).catch(() => Infinity); // it is whole by now
    return Date.now() - writtenAt > ANSWER_DEADLINE_MS;
  }

  async #answer(id: string): Promise<void> {
    const { fs, directory, carryOut, log } = this.#options;
    const { request, begun } = inboxFiles(directory, id);
    try {
      await fs.rename(request, begun);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return; // taken back
      throw error;
    }
    const asked = await this.#read(begun);
    const outcome =
      asked === undefined
        ? nothingDone(`the relay could not read the request ${begun}`)
        : await carryOut(asked);
    if (asked !== undefined) {
      const { unconfigured, ...done } = outcome;
      log.info({ ...done, ...(unconfigured > 0 && { unconfigured }) }, DONE[asked.action]);
    }
    await this.#put(id, outcome);
    await removeIfThere(fs, begun);
  }

  /** Without room for an answer the request goes all the same: who waits sees that it is gone. */
  async #put(id: string, outcome: LetterAnswer): Promise<void> {
    const { fs, directory } = this.#options;
    await putFile(fs, inboxFiles(directory, id).answer, outcome).catch((error: unknown) => this.#tell(error));
  }

  async #read(path: string): Promise<LetterRequest | undefined> {
    try {
      const request = await takeFile(this.#options.fs, path);
      if (isRequest(request)) return request;
    } catch (error) {
      this.#tell(error);
    }
    return undefined;
  }

  #tell(error: unknown): void {
    const { directory, log } = this.#options;
    const times = this.#troubles.due('inbox', performance.now());
    const details = { directory, reason: messageOf(error), times };
    if (times !== undefined)
      log.error(details, 'cannot see what commands ask for dead letters; trying again');
  }
}

function isRequest(value: unknown): value is LetterRequest {
  const { action, segment, ids } = (value ?? {}) as Partial<LetterRequest>;
  return (
    (action === 'replay' || action === 'discard') &&
    Number.isSafeInteger(segment) &&
    Array.isArray(ids) &&
    ids.every((id) => typeof id === 'string')
  );
}
