import { randomUUID } from 'node:crypto';
import { access, constants, open, readdir, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { messageOf } from '../errors.ts';
import { realFileSystem } from '../queue/filesystem.ts';
import { holderOf } from '../queue/lock.ts';
import { needOwner } from '../queue/owner.ts';
import { segmentSizeOf } from '../queue/segment-size.ts';
import { failed, ok, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';

const MIB = 1024 * 1024;

/** Beside the queue: dead letters take a quarter of it; the reserve, segments that are being written and rewritten, the rest. */
const NEEDED_SHARE = 1.25;
const NEEDED_BYTES = 80 * MIB;

/** What a request brings at least is written and synced so often, or for so long. */
const SYNCS = 15;
const SYNC_BYTES = 4096;
const SYNC_TIME_MS = 2_000;
/** A disk that takes longer makes each client wait so long, and more where they wait for each other. */
const SLOW_SYNC_MS = 20;

/** linux/magic.h: disks on which a 200 would promise what they do not hold. */
const VOLATILE = new Map([
  [0x01021994, 'memory (tmpfs)'],
  [0x858458f6, 'memory (ramfs)'],
  [0x794c7630, "a container's own layer (overlayfs)"],
]);
const NETWORK = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x517b, 'SMB'],
]);

/** @returns the folder itself, or the one in which the relay would make it */
export async function checkDirectory(directory: string): Promise<Verdict<string>> {
  const there = await nearest(directory);
  const fix = `make it, and let the user of the relay write there: install -d -m 700 -o RELAY_USER ${directory}`;
  if (!(await stat(there)).isDirectory()) return failed(`${there} is no folder`, 'change queue.directory');
  // Of what is there; elsewhere the relay makes one of its own.
  if (there === directory) await needOwner(directory);
  try {
    await access(there, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    return failed(`user ${process.geteuid?.()} may not use ${there}: ${messageOf(error)}`, fix);
  }
  return ok(
    there === directory
      ? `${directory} can be used`
      : `${directory} is not there yet; the relay makes it in ${there}`,
    there,
  );
}

/** What the folder lies on. */
export async function checkDisk(folder: string): Promise<Verdict<undefined>> {
  const { type } = await statfs(folder);
  const memory = VOLATILE.get(type);
  if (memory !== undefined) {
    return warning(
      `${folder} lies in ${memory}: what clients were answered 200 for is gone with a restart`,
      'put queue.directory on a disk; in a container, on a volume',
    );
  }
  const network = NETWORK.get(type);
  return network === undefined
    ? ok(`${folder} lies on a disk of this machine, as far as can be seen`)
    : warning(
        `${folder} lies on ${network}, where locks and synced writes are often not what they are on a disk`,
        'put queue.directory on a disk of its own (in Kubernetes: a ReadWriteOnce volume of block storage)',
      );
}

/** Room for the queue at its largest, of which what is in it now is a part. */
export async function checkSpace(
  folder: string,
  directory: string,
  maxBytes: number,
): Promise<Verdict<undefined>> {
  const [free, used] = [await realFileSystem.freeBytes(folder), await bytesIn(directory)];
  const needed = NEEDED_SHARE * maxBytes + NEEDED_BYTES;
  const words = `${mib(free)} are free and ${mib(used)} used, of ${mib(needed)} (1.25 times queue.max_size and 80 MiB)`;
  const fix = 'make room, use a larger volume, or lower queue.max_size';
  if (free < segmentSizeOf(maxBytes)) return failed(`${words}: the relay takes nothing now`, fix);
  return free + used < needed ? warning(`${words}: the disk is full before the queue is`, fix) : ok(words);
}

/** In a file of its own, which is gone afterwards. */
export async function checkSpeed(folder: string): Promise<Verdict<undefined>> {
  const path = join(folder, `doctor-${randomUUID()}.tmp`);
  const times: number[] = [];
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      const end = performance.now() + SYNC_TIME_MS;
      const block = new Uint8Array(SYNC_BYTES);
      for (let at = 0; at < SYNCS && performance.now() < end; at++) {
        const start = performance.now();
        await file.write(block, 0, block.length, at * block.length);
        await file.datasync();
        times.push(performance.now() - start);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    return failed(
      `a file in ${folder} cannot be written and synced: ${messageOf(error)}`,
      'look at the disk (dmesg, df), its quota, and who may write there',
    );
  } finally {
    await rm(path, { force: true });
  }
  return judgeSpeed(times);
}

/** @param times of each write with its sync, in ms; one at least */
export function judgeSpeed(times: readonly number[]): Verdict<undefined> {
  const median = times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
  const words = `a synced write takes ${median.toFixed(1)} ms (median of ${times.length})`;
  return median <= SLOW_SYNC_MS
    ? ok(words)
    : warning(
        `${words}, and so long each client waits at least`,
        'put queue.directory on a faster disk, or one that others use less',
      );
}

/** @returns who holds it, in words; undefined: nobody */
export function checkLock(directory: string): Verdict<string | undefined> {
  const holder = holderOf(directory);
  return holder === undefined
    ? ok('no relay runs on this queue', undefined)
    : ok(`a relay runs on this queue: ${holder}`, holder);
}

async function nearest(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    const isThere = await stat(folder).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if ((error.code === 'ENOENT' || error.code === 'ENOTDIR') && dirname(folder) !== folder) return false;
        throw error;
      },
    );
    if (isThere) return folder;
  }
}

/** As the disk counts it; what goes meanwhile does not count. */
async function bytesIn(directory: string): Promise<number> {
  const names = await readdir(directory, { recursive: true }).catch(() => []);
  let bytes = 0;
  for (const name of names) {
    const file = await stat(join(directory, name)).catch(() => undefined);
    if (file?.isFile() === true) bytes += file.blocks * 512;
  }
  return bytes;
}

function mib(bytes: number): string {
  return `${Math.floor(bytes / MIB)} MiB`;
}
