// Appends without end, many at a time, and prints each record's text after it was answered `stored`.
import { pino } from 'pino';
import { openQueue } from '../../src/queue/segment-queue.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const [directory = '', round = ''] = process.argv.slice(2);
const queue = await openQueue(
  { directory, maxBytes: 256 * 1024 * 1024, destinations: ['mlflow'] },
  { log: pino({ level: 'silent' }), metrics: createMetrics() },
);

let next = 0;
async function appendOn(): Promise<void> {
  for (;;) {
    const text = `${round}-${next++}`;
    const outcome = await queue.append([
      {
        payload: Buffer.from(text),
        spanCount: 1,
        sender: 'child',
        route: { name: 'default', destinations: ['mlflow'], variables: {} },
        receivedAt: 0,
      },
    ]);
    // To a pipe this is done when it returns, however slowly it is read.
    if (outcome === 'stored') process.stdout.write(`${text}\n`);
  }
}
await Promise.all(Array.from({ length: 20 }, appendOn));
