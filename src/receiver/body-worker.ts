import { parentPort } from 'node:worker_threads';
import { readBodyNow } from './read-body.ts';
import type { BodyFormat, BodyLimits, ReadResult } from './read-body.ts';

/** A body whose blocks the thread may have. */
export type BodyJob = {
  readonly blocks: readonly Uint8Array<ArrayBuffer>[];
  readonly format: BodyFormat;
  readonly limits: BodyLimits;
};

/** `tooLarge` gives the body back. */
export type BodyJobResult =
  Exclude<ReadResult, { tooLarge: true }> | { ok: false; tooLarge: true; body: Uint8Array<ArrayBuffer> };

// Runs in a worker thread: one body in, one result out, in order.
const port = parentPort!;
port.on('message', ({ blocks, format, limits }: BodyJob) => {
  const body = join(blocks);
  const result = readBodyNow(body, format, limits, free);
  if (!result.ok) {
    if ('tooLarge' in result) port.postMessage({ ...result, body } satisfies BodyJobResult, [body.buffer]);
    else port.postMessage(result);
    return;
  }
  // With a buffer of its own, which may leave this thread.
  let { payload } = result;
  if (payload.byteLength < payload.buffer.byteLength) {
    payload = new Uint8Array(payload);
    free(result.payload);
  }
  port.postMessage({ ...result, payload }, [payload.buffer as ArrayBuffer]);
});

function join(blocks: BodyJob['blocks']): Uint8Array<ArrayBuffer> {
  if (blocks.length === 1) return blocks[0]!;
  const whole = new Uint8Array(blocks.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const block of blocks) {
    whole.set(block, at);
    at += block.byteLength;
    free(block);
  }
  return whole;
}

/** At once, not when the garbage collector comes by: what is in hand has a bound, what waits for it has none. */
function free(bytes: Uint8Array): void {
  (bytes.buffer as ArrayBuffer).transfer(0);
}
