import { Worker } from 'node:worker_threads';
import type { JsonResult } from './json-encoder.ts';

// The ending is that of this file: .ts where the sources run as they are, .js where they were built.
const WORKER_FILE = new URL(
  `./json-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`,
  import.meta.url,
);

/**
 * Makes a function that encodes bodies in a worker thread, one after the other. The thread starts with the first
 * body, is used again, and keeps the process alive only while it works. Should it end (memory, a bug), the body
 * it had gets an error with `crashed`, and the next one a new thread.
 */
export function createJsonThread(file: URL = WORKER_FILE): (body: Uint8Array) => Promise<JsonResult> {
  let worker: Worker | undefined;
  let settle: ((result: JsonResult) => void) | undefined;
  let queue: Promise<void> = Promise.resolve();

  function start(): Worker {
    // Without the flags of this process: some of them (--input-type) are wrong for a thread.
    const started = new Worker(file, { execArgv: [] });
    const ended = (reason: string) => {
      if (worker !== started) return;
      worker = undefined;
      settle?.({ ok: false, crashed: true, message: `the thread that encodes JSON ended: ${reason}` });
    };
    started.on('message', (result: JsonResult) => settle?.(result));
    started.on('error', (error: Error) => ended(error.message));
    started.on('exit', (code) => ended(`exit code ${code}`));
    return started;
  }

  async function encode(body: Uint8Array<ArrayBuffer>): Promise<JsonResult> {
    const busy = (worker ??= start());
    busy.ref();
    const result = await new Promise<JsonResult>((resolve) => {
      settle = resolve;
      busy.postMessage(body, [body.buffer]);
    });
    busy.unref();
    return result;
  }

  return (body) => {
    // Copied before anything waits: the caller may use its buffer again, and the copy can be handed over.
    const copy = new Uint8Array(body);
    const result = queue.then(() => encode(copy));
    queue = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  };
}
