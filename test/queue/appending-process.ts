// Appends without end, many at a time, and prints each record's text after it was answered `stored`.
import { writeSync } from 'node:fs';
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
    if (outcome === 'stored') writeSync(1, `${text}\n`);
  }
}
await Promise.all(Array.from({ length: 20 }, appendOn));
