import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Notices } from '../telemetry/notice.ts';
import { removeIfThere } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';
import type { LetterAnswer, LetterRequest } from './letter-requests.ts';

/** While nobody asks. */
const LOOK_EVERY_MS = 1000;
/** While somebody does: the next part of what a command wants comes as soon as the one before is answered. */
const LOOK_AGAIN_MS = 20;
const STAY_AWAKE_MS = 2000;

/** Far above what a command puts into one request. */
const MAX_REQUEST_BYTES = 64 * 1024 * 1024;

const REQUEST = '.json';
const ANSWER = '.answer';
const UNFINISHED = '.partial';

/** Where commands put requests to a running relay, in the folder of the dead letters. */
export function inboxDirectory(lettersDirectory: string): string {
  return join(lettersDirectory, 'inbox');
}

/** Files of one request: what is asked, and what became of it. */
export function inboxFiles(inbox: string, id: string): { readonly request: string; readonly answer: string } {
  return { request: join(inbox, id + REQUEST), answer: join(inbox, id + ANSWER) };
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

export type LetterInboxOptions = {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly carryOut: (request: LetterRequest) => Promise<LetterAnswer>;
  readonly log: Logger;
};

/**
 * Does what commands ask for beside a running relay. A request that a stop cuts off is done again by the next start:
 * what was done by then is not there any more to be done twice.
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
    this.#wait();
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
    const { fs, directory } = this.#options;
    try {
      for (const name of (await fs.list(directory)).toSorted()) {
        if (this.#isClosed) return;
        // Of commands that were killed: nobody reads it any more.
        if (!this.#isTidy && !name.endsWith(REQUEST)) await removeIfThere(fs, join(directory, name));
        if (!name.endsWith(REQUEST)) continue;
        await this.#answer(name.slice(0, -REQUEST.length));
        this.#awakeUntil = performance.now() + STAY_AWAKE_MS;
      }
    } catch (error) {
      // Nobody has asked yet, or takes an answer away.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#tell(error);
    }
    this.#isTidy = true;
  }

  async #answer(id: string): Promise<void> {
    const { fs, directory, carryOut, log } = this.#options;
    const { request, answer } = inboxFiles(directory, id);
    const asked = await this.#read(request);
    const outcome =
      asked === undefined
        ? {
            letters: 0,
            spans: 0,
            unconfigured: 0,
            stopped: `the relay could not read the request ${request}`,
          }
        : await carryOut(asked);
    if (asked !== undefined) {
      const { action, segment, ids } = asked;
      log.info(
        { action, segment, asked: ids.length, ...outcome },
        'did what a command asked for dead letters',
      );
    }
    // Without room for an answer the request goes all the same: who waits sees that it is gone.
    await putFile(fs, answer, outcome).catch((error: unknown) => this.#tell(error));
    await removeIfThere(fs, request);
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
