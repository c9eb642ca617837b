import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../src/errors.ts';
import { StackError } from './processes.ts';

const CHUNK = Buffer.alloc(64 * 1024);

/** A disk in memory that is nobody else's. */
export type SmallDisk = {
  readonly directory: string;
  /** Takes what room there is, to the last byte, as another program would. */
  fill(): void;
  /** Gives all of that back. */
  free(): void;
  /** Detached at once, and freed when the last file on it is closed. */
  remove(): void;
};

/** @throws StackError where it cannot be mounted, which takes root on Linux */
export function mountSmallDisk(bytes: number): SmallDisk {
  const directory = mkdtempSync(join(tmpdir(), 'small-disk-'));
  try {
    mount(directory, bytes);
  } catch (error) {
    rmdirSync(directory);
    throw new StackError(
      `a disk of ${bytes} bytes cannot be mounted (tmpfs, root on Linux): ${messageOf(error)}`,
    );
  }
  const filler = join(directory, 'filler');
  return {
    directory,
    fill() {
      for (let chunk = CHUNK; chunk.length > 0;) {
        try {
          appendFileSync(filler, chunk);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
          chunk = chunk.subarray(0, Math.floor(chunk.length / 2));
        }
      }
    },
    free: () => writeFileSync(filler, ''),
    remove() {
      execFileSync('umount', ['--lazy', directory], { stdio: 'pipe' });
      rmdirSync(directory);
    },
  };
}

/** Runs with such a disk. */
export async function withSmallDisk<T>(bytes: number, work: (directory: string) => Promise<T>): Promise<T> {
  const disk = mountSmallDisk(bytes);
  try {
    return await work(disk.directory);
  } finally {
    disk.remove();
  }
}

/**
 * For `describe.skipIf`: true on a person's machine that does not let its user mount one, with one line that says so.
 * In CI nothing is skipped: the tests run and fail there.
 */
export function skipWithoutSmallDisks(): boolean {
  if (process.env['CI'] !== undefined) return false;
  try {
    mountSmallDisk(64 * 1024).remove();
    return false;
  } catch {
    process.stderr.write('skipped: these tests mount a small tmpfs, which takes root on Linux\n');
    return true;
  }
}

function mount(directory: string, bytes: number): void {
  const options = `size=${bytes},mode=0700`;
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory], { stdio: 'pipe' });
}
