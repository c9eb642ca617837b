import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { StackError } from '../stack/processes.ts';

/** Of this folder; it ends with this process. */
export function child(file: string, cleanUps: (() => unknown)[]): ChildProcess {
  const started = fork(join(import.meta.dirname, file), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  cleanUps.push(() => (started.connected ? started.disconnect() : undefined));
  return started;
}

/** What a child says next. */
export async function news<T>(from: ChildProcess, deadlineMs: number): Promise<T> {
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(deadlineMs)]);
  const ended = once(from, 'exit', { signal }).then(() => {
    throw new StackError('a process beside the relay has ended');
  });
  ended.catch(() => {});
  try {
    const [message] = (await Promise.race([once(from, 'message', { signal }), ended])) as [T];
    return message;
  } finally {
    over.abort();
  }
}
