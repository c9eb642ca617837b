import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { RelayError, messageOf } from '../errors.ts';

const SQLITE_BUSY = 5;

/**
 * Keeps a second relay out of a directory, across processes, for as long as this process lives: the operating
 * system frees the lock when the process ends, however it ends. SQLite's file lock is used because Node has no
 * other one; the database stays empty.
 *
 * @returns a function that releases the lock
 * @throws RelayError QUEUE_LOCKED naming the holder, QUEUE_UNUSABLE
 */
export function lockDirectory(directory: string): () => void {
  const { DatabaseSync } = loadSqlite();
  const holderFile = holderPath(directory);
  const database = openDatabase();
  function openDatabase() {
    try {
      return new DatabaseSync(lockPath(directory), { timeout: 0 });
    } catch (error) {
      throw new RelayError(
        'QUEUE_UNUSABLE',
        `cannot make the lock file in ${directory} (key queue.directory): ${messageOf(error)}; make the directory writable for this user, and room on its disk`,
        { cause: error },
      );
    }
  }
  try {
    database.exec('PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) {
      throw new RelayError(
        'QUEUE_LOCKED',
        `another relay uses the queue in ${directory} (key queue.directory): ${lockHolder(directory)}; stop it, or give this one a directory of its own`,
        { cause: error },
      );
    }
    throw new RelayError(
      'QUEUE_UNUSABLE',
      `cannot lock the queue in ${directory} (key queue.directory): ${messageOf(error)}; make the directory writable for this user, and room on its disk`,
      { cause: error },
    );
  }
  try {
    writeFileSync(
      holderFile,
      `process ${process.pid} on ${hostname()}, started ${new Date().toISOString()}\n`,
      { mode: 0o600 },
    );
  } catch {
    // The name of the holder is a courtesy; on a full disk the relay starts without it.
  }
  return () => {
    database.close();
  };
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
  const { DatabaseSync } = loadSqlite();
  const database = new DatabaseSync(lockPath(directory), { readOnly: true, timeout: 0 });
  try {
    database.exec('SELECT count(*) FROM sqlite_schema');
    return undefined;
  } catch (error) {
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return lockHolder(directory);
    throw error;
  } finally {
    database.close();
  }
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

/** Node 22 warns on first use that node:sqlite is experimental; only its file lock is used here. */
function loadSqlite(): typeof import('node:sqlite') {
  const emitWarning = process.emitWarning;
  process.emitWarning = () => {};
  try {
    return process.getBuiltinModule('node:sqlite');
  } finally {
    process.emitWarning = emitWarning;
  }
}
