import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const CHUNK = Buffer.alloc(64 * 1024);

/** A file system of its own, with little room. Something else may fill it. */
export type SmallDisk = {
  readonly directory: string;
  /** Takes what room there is, to the last byte. */
  fill(): void;
  /** Gives all of that back. */
  free(): void;
  remove(): void;
};

/** A tmpfs. Mounting takes root on Linux: see `canMountSmallDisk`. */
export function mountSmallDisk(bytes: number): SmallDisk {
  const directory = mkdtempSync(join(tmpdir(), 'small-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', directory], {
    stdio: 'pipe',
  });
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

/** False, and said in one line, on a person's machine that does not let its user mount one. In CI it has to. */
export function canMountSmallDisk(): boolean {
  const directory = mkdtempSync(join(tmpdir(), 'small-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=65536', 'tmpfs', directory], { stdio: 'pipe' });
    execFileSync('umount', [directory], { stdio: 'pipe' });
    return true;
  } catch {
    if (process.env['CI'] !== undefined) return true;
    process.stderr.write('skipped: these tests mount a small tmpfs, which takes root on Linux\n');
    return false;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
