import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { META } from './store.ts';
import type { Store } from './store.ts';

/** Of the sizes from 4 KiB, SQLite's own, up to its largest, this one took the least CPU time for such records. */
const PAGE_SIZE = 65_536;
/** Pages of log between two checkpoints: 16 MiB, where more and less took longer. */
const CHECKPOINT_PAGES = 250;

type Waiting = { payload: Uint8Array; resolve: () => void; reject: (error: unknown) => void };

/**
 * SQLite with a write-ahead log that is synced at each commit. What waits goes into one transaction. It runs in this
 * thread, which is blocked meanwhile: cheaper than a thread of its own, to which every record would have to be sent.
 */
export function openSqliteStore(directory: string): Store {
  const database = new DatabaseSync(join(directory, 'records.sqlite'));
  database.exec(
    `PRAGMA page_size = ${PAGE_SIZE}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
     PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};
     CREATE TABLE records (id INTEGER PRIMARY KEY, meta TEXT NOT NULL, payload BLOB NOT NULL)`,
  );
  const insert = database.prepare('INSERT INTO records (meta, payload) VALUES (?, ?)');
  const select = database.prepare('SELECT meta, payload FROM records ORDER BY id');
  const remove = database.prepare(
    'DELETE FROM records WHERE id < (SELECT min(id) FROM records) + CAST(? AS INTEGER)',
  );
  let waiting: Waiting[] = [];

  function commit(): void {
    const group = waiting;
    waiting = [];
    try {
      database.exec('BEGIN IMMEDIATE');
      for (const { payload } of group) insert.run(JSON.stringify(META), payload);
      database.exec('COMMIT');
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      for (const { reject } of group) reject(error);
      return;
    }
    for (const { resolve } of group) resolve();
  }

  return {
    append(payload) {
      return new Promise((resolve, reject) => {
        if (waiting.length === 0) setImmediate(commit);
        waiting.push({ payload, resolve, reject });
      });
    },
    async read(onRecord) {
      for (const row of select.iterate()) {
        const { meta, payload } = row as { meta: string; payload: Uint8Array };
        JSON.parse(meta);
        onRecord(payload);
      }
    },
    async removeOldest(count) {
      remove.run(count);
    },
    async close() {
      database.close();
    },
  };
}
