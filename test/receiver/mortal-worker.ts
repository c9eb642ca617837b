import { parentPort } from 'node:worker_threads';

const port = parentPort!;

// Stands where the JSON worker stands: gives each body back, and dies when one says so.
port.on('message', (body: Uint8Array) => {
  const text = Buffer.from(body).toString();
  if (text === 'exit') process.exit(3);
  if (text === 'throw') throw new Error('as asked');
  port.postMessage({ ok: true, payload: body });
  if (text === 'later') process.exit(0);
});
