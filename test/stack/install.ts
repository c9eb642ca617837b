import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { RelayError, messageOf } from '../../src/errors.ts';
import { lockDirectory } from '../../src/queue/lock.ts';
import { StackError, startProcess, waitFor } from './processes.ts';

/*
 * What is installed or built once, from pinned versions, into a folder of the cache that is named by what it is
 * made from.
 */

/** Of the project, outside its tracked files. */
export const CACHE = resolve(import.meta.dirname, '../../.cache');

/** Far above what installing takes, so that a stuck installer is reported rather than awaited for ever; ms. */
const INSTALL_LIMIT_MS = 15 * 60_000;

/** Runs an installer's step; its output goes to the log. Resolves to false when it fails. */
export type Step = (
  command: string,
  args: readonly string[],
  options?: { cwd?: string; env?: NodeJS.ProcessEnv },
) => Promise<boolean>;

export type Recipe = {
  /** For messages, as in "the Collector". */
  what: string;
  /** The folder in the cache begins with it. */
  name: string;
  /** All that decides what comes out: versions, contents of files. */
  inputs: readonly string[];
  /**
   * Fills the folder, which is empty.
   * @throws StackError that says what is missing
   */
  make: (directory: string, step: Step) => Promise<void>;
};

export type Installed = {
  directory: string;
  /** What is installed, in a few characters. */
  id: string;
};

/**
 * The folder with what the recipe makes, made if it is not there yet. Two processes may ask at once.
 * @throws StackError in one line, which names the file with the installer's own words
 */
export async function ensureInstalled(
  recipe: Recipe,
  {
    cacheDir = CACHE,
    signal,
    isUsable = () => true,
  }: {
    cacheDir?: string | undefined;
    signal?: AbortSignal | undefined;
    isUsable?: (directory: string) => boolean;
  } = {},
): Promise<Installed> {
  const id = createHash('sha256').update(JSON.stringify(recipe.inputs)).digest('hex').slice(0, 12);
  const directory = join(cacheDir, `${recipe.name}-${id}`);
  const stamp = join(directory, 'complete');
  const isComplete = () => existsSync(stamp) && isUsable(directory);
  if (isComplete()) return { directory, id };

  const lockDir = `${directory}.lock`;
  await mkdir(lockDir, { recursive: true });
  const unlock = await waitFor(
    `another process was still installing ${recipe.what}`,
    INSTALL_LIMIT_MS,
    async () => tryLock(lockDir),
    { everyMs: 250, signal },
  );
  try {
    if (isComplete()) return { directory, id };
    // What a process left that was ended on the way.
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true });
    await make(recipe, directory, `${directory}.log`, signal);
    await writeFile(stamp, '');
    return { directory, id };
  } finally {
    unlock();
  }
}

async function make(
  recipe: Recipe,
  directory: string,
  logFile: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await rm(logFile, { force: true });
  const step: Step = async (command, args, { cwd = directory, env = process.env } = {}) => {
    signal?.throwIfAborted();
    await appendFile(logFile, `$ ${command} ${args.join(' ')}\n`, { mode: 0o600 });
    const limit = AbortSignal.any([AbortSignal.timeout(INSTALL_LIMIT_MS), ...(signal ? [signal] : [])]);
    try {
      // In a group of its own, which ends with this process: an installer that goes on alone would disturb the next.
      const installer = startProcess(command, args, { cwd, env, logFile });
      const end = () => installer.stop('SIGKILL', 0);
      limit.addEventListener('abort', end);
      const { code } = await installer.exited;
      await end();
      return code === 0;
    } catch (error) {
      await appendFile(logFile, `${messageOf(error)}\n`);
      return false;
    } finally {
      signal?.throwIfAborted();
    }
  };
  try {
    await recipe.make(directory, step);
  } catch (error) {
    if (error instanceof StackError) {
      throw new StackError(`${error.message}; more in ${logFile}`, { cause: error });
    }
    throw error;
  }
}

function tryLock(directory: string): (() => void) | undefined {
  try {
    return lockDirectory(directory);
  } catch (error) {
    if (error instanceof RelayError && error.code === 'QUEUE_LOCKED') return undefined;
    throw error;
  }
}
