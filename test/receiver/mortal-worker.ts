import { parentPort } from 'node:worker_threads';

const port = parentPort!;

// Stands where a worker of the relay stands: gives each text back, and dies when one says so.
port.on('message', (text: string) => {
  if (text === 'exit') process.exit(3);
  if (text === 'throw') throw new Error('as asked');
  if (text === 'fill the heap') for (const all: string[] = []; ;) all.push(`${all.length}`.padEnd(1000));
  port.postMessage(text);
  if (text === 'later') process.exit(0);
});
