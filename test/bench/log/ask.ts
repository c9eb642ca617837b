import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { StackError } from '../../stack/processes.ts';
import type { Answer, Order } from './order.ts';

/** Far above what a measurement takes. */
const DEADLINE_MS = 120_000;
/** Last characters of what a process said before it died. */
const WORDS = 2000;

/** @throws StackError with the error of the process, or how it died */
export async function ask(order: Order, signal?: AbortSignal): Promise<Exclude<Answer, { error: string }>> {
  signal?.throwIfAborted();
  const worker = fork(join(import.meta.dirname, 'worker.ts'), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
    // A full disk makes LMDB say much there.
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let words = '';
  worker.stderr?.setEncoding('utf8').on('data', (text: string) => (words = (words + text).slice(-WORDS)));
  const end = () => worker.kill('SIGKILL');
  const limit = AbortSignal.any([AbortSignal.timeout(DEADLINE_MS), ...(signal ? [signal] : [])]);
  limit.addEventListener('abort', end);
  try {
    let answer: Answer | undefined;
    worker.once('message', (message) => (answer = message as Answer));
    const exit = once(worker, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    worker.send(order);
    const [code, killed] = await exit;
    if (answer === undefined)
      throw new StackError(`${order.kind}: its process died: ${killed ?? code}\n${words}`);
    if ('error' in answer) throw new StackError(`${order.kind}: ${answer.error}`);
    return answer;
  } finally {
    limit.removeEventListener('abort', end);
  }
}
