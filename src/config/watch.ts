import { stat, statSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

/** Kubernetes takes up to a minute to swap a secret; a second more is nothing, and a stat costs microseconds. */
const POLL_MS = 1000;

/**
 * Calls `onChange` with the name of each file that is not what it was: another content, time, or inode.
 * Polls and follows symbolic links, since Kubernetes changes a secret by swapping a link that inotify on the
 * file does not see. The state compared to is taken before this returns: watch first, then read, and no
 * change is missed. A file that is missing is no change; its return is. Does not keep the process alive.
 *
 * @returns stops watching; `onChange` is not called after it.
 */
export function watchFiles(
  files: readonly string[],
  onChange: (file: string) => void,
  pollMs = POLL_MS,
): () => void {
  const seen = new Map(files.map((file) => [file, fingerprintNow(file)]));
  let stopped = false;

  const timer = setInterval(() => {
    for (const file of seen.keys()) {
      stat(file, { bigint: true }, (error, stats) => {
        if (stopped || error) return;
        const now = fingerprint(stats);
        if (now === seen.get(file)) return;
        seen.set(file, now);
        onChange(file);
      });
    }
  }, pollMs);
  timer.unref();

  return () => {
    stopped = true;
    clearInterval(timer);
  };
}

function fingerprintNow(file: string): string | undefined {
  try {
    return fingerprint(statSync(file, { bigint: true }));
  } catch {
    return undefined;
  }
}

function fingerprint(stats: BigIntStats): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
}
