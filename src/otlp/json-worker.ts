import { parentPort } from 'node:worker_threads';
import { encodeTracesJsonNow } from './json-encoder.ts';

// Runs in a worker thread: one body in, one JsonResult out, in order.
const port = parentPort!;
port.on('message', (body: Uint8Array) => {
  const result = encodeTracesJsonNow(body);
  if (!result.ok) {
    port.postMessage(result);
    return;
  }
  // A copy with a buffer of its own, which may leave this thread.
  const payload = new Uint8Array(result.payload);
  port.postMessage({ ok: true, payload }, [payload.buffer]);
});
