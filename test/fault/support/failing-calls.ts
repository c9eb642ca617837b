import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startProcess, waitFor } from '../../stack/processes.ts';

const DEADLINE_MS = 30_000;

/**
 * Makes system calls of a running process fail with this error, by strace, until stopped: to the process its disk is
 * a bad one.
 * @param calls as in `fdatasync`
 * @param directory of the log of what strace has said
 * @returns what lets them work again
 */
export async function failCalls(
  pid: number,
  calls: readonly string[],
  error: 'EIO' | 'ENOSPC' | 'EROFS',
  directory: string,
): Promise<() => Promise<void>> {
  const named = calls.join(',');
  const logFile = join(directory, 'strace.log');
  const strace = startProcess(
    'strace',
    ['-f', '-qq', '-p', String(pid), '-e', `trace=${named}`, '-e', `inject=${named}:error=${error}`],
    { cwd: directory, env: process.env, logFile },
  );
  const tracers = async () => {
    const threads = await readdir(`/proc/${pid}/task`);
    const texts = threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/status`, 'utf8'));
    return (await Promise.all(texts)).map((text) => Number(/^TracerPid:\s+(\d+)$/m.exec(text)?.[1]));
  };
  await waitFor('strace did not take hold of the process', DEADLINE_MS, async () => {
    if (strace.hasExited()) throw new Error(strace.tail(5));
    return (await tracers()).every((tracer) => tracer === strace.pid) ? true : undefined;
  });
  return async () => {
    await strace.stop('SIGTERM', DEADLINE_MS);
    await waitFor('strace did not let go of the process', DEADLINE_MS, async () =>
      (await tracers()).every((tracer) => tracer === 0) ? true : undefined,
    );
  };
}
