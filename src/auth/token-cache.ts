import { createHash, randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { tryLock } from '../file-lock.ts';

/** A token as it is kept between two commands. Times in ms since the epoch. */
export type KeptToken = {
  readonly accessToken: string;
  readonly obtainedAt: number;
  readonly expiresAt: number;
  readonly refreshToken?: string;
};

export type TokenCache = {
  /** Undefined where there is none, or none that this user alone could have written and read. */
  read(): Promise<KeptToken | undefined>;
  /** Rejects with the error of the file system. */
  write(token: KeptToken): Promise<void>;
  remove(): Promise<void>;
  /**
   * Does this while no other process does so with the same token: a refresh token may be good for one use only, and an
   * issuer that sees it twice may end all that came of it (RFC 9700 section 4.14.2).
   * @param whileWaiting called once, where another one is at it for some seconds
   * @param instead done in place of the work, where another one is at it for a second
   */
  alone<T>(work: () => Promise<T>, whileWaiting: () => void, instead?: () => T): Promise<T>;
};

/** For people, of one that holds it: it may be replacing the token, or revoking it. */
export const TOKEN_IN_USE = 'another command is using this token: waiting for it';

/** More than any token has. */
const MOST_BYTES = 1024 * 1024;

const LOCK_POLL_MS = 100;
const SHORT_WAIT_MS = 1_000;
const NOTABLE_WAIT_MS = 3_000;
/** Longer than a person has for a login; a process that was stopped must not hold up others for ever. */
const LONGEST_WAIT_MS = 30 * 60_000;

/** Below `$XDG_CACHE_HOME`, or else `~/.cache` (XDG Base Directory Specification). */
export function tokenDirectory(env: NodeJS.ProcessEnv): string {
  const base = env['XDG_CACHE_HOME'];
  return join(
    base === undefined || base === '' ? join(homedir(), '.cache') : base,
    'mlflow-trace-relay',
    'tokens',
  );
}

/**
 * A file of mode 0600 in a folder of mode 0700, for each token of its own.
 * @param identity all that makes the token another one: issuer, client, grant, account, scope and more
 */
export function createTokenCache(
  directory: string,
  identity: Readonly<Record<string, string | undefined>>,
): TokenCache {
  const sorted = Object.entries(identity).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const name = createHash('sha256').update(JSON.stringify(sorted)).digest('hex');
  const file = join(directory, `${name}.json`);

  return {
    async read() {
      try {
        const { mode, uid, size } = await stat(file);
        const isOurs = (mode & 0o077) === 0 && uid === (process.geteuid?.() ?? uid);
        if (!isOurs || size > MOST_BYTES) return undefined;
        const token: unknown = JSON.parse(await readFile(file, 'utf8'));
        return isKeptToken(token) ? token : undefined;
      } catch {
        return undefined; // what cannot be read is fetched again
      }
    },
    async write(token) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await chmod(directory, 0o700);
      const partial = `${file}.${randomBytes(6).toString('hex')}`;
      try {
        const handle = await open(partial, 'wx', 0o600);
        try {
          await handle.writeFile(JSON.stringify(token));
        } finally {
          await handle.close();
        }
        await rename(partial, file);
      } catch (error) {
        await rm(partial, { force: true });
        throw error;
      }
    },
    remove: () => rm(file, { force: true }),
    async alone(work, whileWaiting, instead) {
      const longestMs = instead === undefined ? LONGEST_WAIT_MS : SHORT_WAIT_MS;
      const unlock = await locked(join(directory, '..', 'locks'), name, whileWaiting, longestMs);
      if (unlock === undefined && instead !== undefined) return instead();
      try {
        return await work();
      } finally {
        unlock?.();
      }
    },
  };
}

/**
 * A token is worth more than being alone: where there can be no lock (nothing can be written, or the file system has
 * none, as some NFS), or others could hold it for ever, commands do without.
 * @returns a function that releases it; undefined: somebody else has had it all the time
 */
async function locked(
  directory: string,
  name: string,
  whileWaiting: () => void,
  longestMs: number,
): Promise<(() => void) | undefined> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const { mode, uid } = await stat(directory);
    if ((mode & 0o022) !== 0 || uid !== (process.geteuid?.() ?? uid)) return () => {};
    for (let waited = 0; waited < longestMs; waited += LOCK_POLL_MS) {
      const unlock = tryLock(join(directory, `${name}.sqlite`));
      if (unlock !== undefined) return unlock;
      if (waited === NOTABLE_WAIT_MS) whileWaiting();
      await setTimeout(LOCK_POLL_MS);
    }
    return undefined;
  } catch {
    return () => {}; // see above
  }
}

function isKeptToken(value: unknown): value is KeptToken {
  const { accessToken, obtainedAt, expiresAt, refreshToken } = (value ?? {}) as Partial<KeptToken>;
  return (
    typeof accessToken === 'string' &&
    typeof obtainedAt === 'number' &&
    typeof expiresAt === 'number' &&
    (refreshToken === undefined || typeof refreshToken === 'string')
  );
}
