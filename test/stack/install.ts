import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { RelayError } from '../../src/errors.ts';
import { lockDirectory } from '../../src/queue/lock.ts';
import { StackError, waitFor } from './processes.ts';

/*
 * What is installed or built once, from pinned versions, into a folder of the cache that is named by what it is
 * made from.
 */

/** Of the project, outside its tracked files. */
export const CACHE = resolve(import.meta.dirname, '../../.cache');

/** Far above what installing takes, so that a stuck installer is reported rather than awaited for ever. */
const INSTALL_LIMIT_MS = 15 * 60_000;
const execute = promisify(execFile);

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
  let output = '';
  const step: Step = async (command, args, options = {}) => {
    output += `$ ${command} ${args.join(' ')}\n`;
    try {
      const { stdout, stderr } = await execute(command, args, {
        cwd: directory,
        timeout: INSTALL_LIMIT_MS,
        maxBuffer: 64 * 1024 * 1024,
        ...options,
        ...(signal && { signal }),
      });
      output += stdout + stderr;
      return true;
    } catch (error) {
      signal?.throwIfAborted();
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      output += `${stdout}${stderr}${String(error)}\n`;
      return false;
    }
  };
  try {
    await recipe.make(directory, step);
  } catch (error) {
    if (error instanceof StackError) {
      throw new StackError(`${error.message}; more in ${logFile}`, { cause: error });
    }
    throw error;
  } finally {
    await writeFile(logFile, output, { mode: 0o600 });
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
