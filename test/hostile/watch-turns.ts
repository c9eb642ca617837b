import { appendFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

/*
 * Loaded into the relay before its own code: writes down each turn of its event loop that took long, as a line with the
 * time (Unix time, ms) and the CPU time of the thread in ms. On a machine with other work CPU time tells what the relay
 * does from what it waits for. A look that is not waited for (`unref`) does not keep the loop from its rest.
 */

/** Of these the file has few lines. */
const LONG_MS = 20;

const file = process.env.WATCH_TURNS_FILE;
if (isMainThread && file !== undefined) {
  let before = process.threadCpuUsage();
  const look = (): void => {
    const { user, system } = process.threadCpuUsage(before);
    const ms = (user + system) / 1000;
    if (ms >= LONG_MS) appendFileSync(file, `${Date.now()} ${ms.toFixed(1)}\n`);
    before = process.threadCpuUsage();
    setImmediate(look).unref();
  };
  setImmediate(look).unref();
}
