import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { RelayError, messageOf } from '../errors.ts';
import { isHeld, tryLock } from '../file-lock.ts';

/**
 * Keeps a second relay out of a directory, across processes, for as long as this process lives.
 *
 * @returns a function that releases the lock
 * @throws RelayError QUEUE_LOCKED naming the holder, QUEUE_UNUSABLE
 */
export function lockDirectory(directory: string): () => void {
  let unlock: (() => void) | undefined;
  try {
    unlock = tryLock(lockPath(directory));
  } catch (error) {
    throw new RelayError(
      'QUEUE_UNUSABLE',
      `cannot lock the queue in ${directory} (key queue.directory): ${messageOf(error)}; make the directory writable for this user, and room on its disk`,
      { cause: error },
    );
  }
  if (unlock === undefined) {
    throw new RelayError(
      'QUEUE_LOCKED',
      `another relay uses the queue in ${directory} (key queue.directory): ${lockHolder(directory)}; stop it, or give this one a directory of its own`,
    );
  }
  try {
    writeFileSync(
      holderPath(directory),
      `process ${process.pid} on ${hostname()}, started ${new Date().toISOString()}\n`,
      { mode: 0o600 },
    );
  } catch {
    // The name of the holder is a courtesy; on a full disk the relay starts without it.
  }
  return unlock;
}

/** Whether somebody has it now, as far as this can be seen. */
export function isLocked(directory: string): boolean {
  try {
    return holderOf(directory) !== undefined;
  } catch {
    return true;
  }
}

/**
 * Who has the lock now, in words; undefined: nobody. Writes nothing, so that who only looks is not taken for a relay.
 * @throws Error where this user may not read it
 */
export function holderOf(directory: string): string | undefined {
  try {
    accessSync(lockPath(directory), constants.R_OK);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  return isHeld(lockPath(directory)) ? lockHolder(directory) : undefined;
}

/** Who has, or had, the lock, in words. */
export function lockHolder(directory: string): string {
  try {
    return readFileSync(holderPath(directory), 'utf8').trim() || 'its process is not known';
  } catch {
    return 'its process is not known';
  }
}

function lockPath(directory: string): string {
  return join(directory, 'lock.sqlite');
}

function holderPath(directory: string): string {
  return join(directory, 'lock.holder');
}
