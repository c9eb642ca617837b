// Delivers what a queue has to an upstream that takes all, but never answers a request of the route `unanswered`, and dies
// while it reads a record of a route that begins with `deadly`. Writes the routes of what was delivered and of the dead
// letters, once nothing waits any more but what is not answered.
import { writeSync } from 'node:fs';
import { pino } from 'pino';
import { startDelivery } from '../../src/delivery/dispatcher.ts';
import type { Destination } from '../../src/destinations/destination.ts';
import type { DeadLetter } from '../../src/queue/queue.ts';
import { openQueue } from '../../src/queue/segment-queue.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const [directory = ''] = process.argv.slice(2);
const log = pino({ level: 'silent' });
const metrics = createMetrics();
const queue = await openQueue(
  { directory, maxBytes: 64 * 1024 * 1024, destinations: ['mlflow'] },
  { log, metrics },
);

let unanswered = 0;
const delivered: string[] = [];
const letters: string[] = [];
const destination: Destination = {
  name: 'mlflow',
  targetOf({ name }) {
    if (name.startsWith('deadly')) process.kill(process.pid, 'SIGKILL');
    return { key: name, description: name };
  },
  async send({ key }) {
    if (key === 'unanswered') {
      unanswered += 1;
      return new Promise<never>(() => {});
    }
    delivered.push(key);
    return { kind: 'delivered', rejectedSpans: 0 };
  },
  async close() {},
};
const deadLetters = {
  async append(appended: readonly DeadLetter[]) {
    await queue.deadLetters.append(appended);
    letters.push(...appended.map(({ route, reason }) => `${route.name}: ${reason}`));
    tellIfDone();
  },
  status: () => queue.deadLetters.status(),
  async close() {},
};
const delivery = startDelivery(
  {
    traceWaitMs: 0,
    maxBatchSpans: 1000,
    maxBatchSize: 1e6,
    maxInFlight: 8,
    timeoutMs: 30_000,
    windowSize: 64 * 1024 * 1024,
  },
  { reader: queue.reader('mlflow'), destination, deadLetters, metrics, log },
);
const timer = setInterval(tellIfDone, 10);

function tellIfDone(): void {
  if (queue.status().destinations['mlflow']?.waitingSpans !== unanswered) return;
  clearInterval(timer);
  writeSync(1, JSON.stringify({ delivered, letters }));
  // What is not answered would never end; the records behind it come again at the next start.
  if (unanswered > 0) process.kill(process.pid, 'SIGTERM');
  else void delivery.stop(1000).then(() => queue.close());
}
