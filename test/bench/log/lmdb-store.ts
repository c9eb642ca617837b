import { copyFile, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ensureInstalled } from '../../stack/install.ts';
import { StackError } from '../../stack/processes.ts';
import { META } from './store.ts';
import type { Store } from './store.ts';

/** Its lock file leaves out msgpackr-extract: optional, native, and of a codec that is not used here. */
const SOURCE = join(import.meta.dirname, 'lmdb');
const FILES = ['package.json', 'package-lock.json'];
const INSTALL = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];

/** What is used of the package `lmdb`. */
type Database = {
  put(key: number, value: Uint8Array): Promise<boolean>;
  remove(key: number): Promise<boolean>;
  getRange(options?: { limit: number }): Iterable<{ key: number; value: Buffer }>;
  getKeys(options: { limit: number }): Iterable<number>;
  close(): Promise<void>;
};
type Lmdb = { open(options: Record<string, unknown>): Database };

/** The folder that has the package; its binary comes built. */
export async function ensureLmdb({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<string> {
  const texts = await Promise.all(FILES.map((file) => readFile(join(SOURCE, file), 'utf8')));
  const { directory } = await ensureInstalled(
    {
      what: 'LMDB',
      name: 'lmdb',
      inputs: [...texts, ...INSTALL, process.platform, process.arch],
      async make(into, step) {
        for (const file of FILES) await copyFile(join(SOURCE, file), join(into, file));
        if (!(await step('npm', INSTALL))) throw new StackError('LMDB could not be installed');
      },
    },
    { signal },
  );
  return directory;
}

/**
 * LMDB, whose commits run in a thread of its own and take what waits together; they are answered when they are synced.
 * @param installed from `ensureLmdb`
 */
export function openLmdbStore(directory: string, installed: string): Store {
  // A commit that fails also rejects a promise that nobody is given; what was asked for is rejected too.
  process.on('unhandledRejection', () => {});
  const { open } = createRequire(join(installed, 'package.json'))('lmdb') as Lmdb;
  const database = open({
    path: join(directory, 'records'),
    encoding: 'binary',
    keyEncoding: 'uint32',
    // Answered when synced, not before; with the next settings it took the least CPU time.
    overlappingSync: false,
    noMemInit: true,
  });
  let next = 0;
  return {
    async append(payload) {
      const meta = Buffer.from(JSON.stringify(META));
      const length = Buffer.allocUnsafe(4);
      length.writeUInt32LE(meta.length);
      await database.put(next++, Buffer.concat([length, meta, payload])).catch(reasonOf);
    },
    async read(onRecord) {
      for (const { value } of database.getRange()) {
        const end = 4 + value.readUInt32LE(0);
        JSON.parse(value.toString('utf8', 4, end));
        onRecord(value.subarray(end));
      }
    },
    async removeOldest(count) {
      // Of one turn of the event loop, they are one transaction.
      const removed = [...database.getKeys({ limit: count })].map((key) => database.remove(key));
      await Promise.all(removed).catch(reasonOf);
    },
    close: () => database.close(),
  };
}

/** A commit's error says only that there is another one. */
async function reasonOf(error: { commitError?: Promise<never> }): Promise<never> {
  await error.commitError;
  throw error;
}
