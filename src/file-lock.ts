import type { DatabaseSync } from 'node:sqlite';

const SQLITE_BUSY = 5;

/**
 * A lock across processes, which the operating system frees when the process ends, however it ends. SQLite's file lock
 * is used because Node has no other one; the database at this path stays empty.
 *
 * @returns a function that releases it; undefined: somebody else has it
 * @throws Error of the file system, or of SQLite
 */
export function tryLock(path: string): (() => void) | undefined {
  const database = openDatabase(path);
  try {
    database.exec('PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (isBusy(error)) return undefined;
    throw error;
  }
  return () => database.close();
}

/**
 * Whether somebody has it now. Writes nothing, so that who only looks is not taken for its holder.
 * @throws Error where it cannot be read
 */
export function isHeld(path: string): boolean {
  const database = openDatabase(path, { readOnly: true });
  try {
    database.exec('SELECT count(*) FROM sqlite_schema');
    return false;
  } catch (error) {
    if (isBusy(error)) return true;
    throw error;
  } finally {
    database.close();
  }
}

function isBusy(error: unknown): boolean {
  return (error as { errcode?: number }).errcode === SQLITE_BUSY;
}

/** Node 22 warns on first use that node:sqlite is experimental; only its file lock is used here. */
function openDatabase(path: string, options: { readOnly?: boolean } = {}): DatabaseSync {
  const emitWarning = process.emitWarning;
  process.emitWarning = () => {};
  try {
    const sqlite = process.getBuiltinModule('node:sqlite');
    return new sqlite.DatabaseSync(path, { timeout: 0, ...options });
  } finally {
    process.emitWarning = emitWarning;
  }
}
