// Reads a queue, works on each record in turn, and stays at the one with the given text, which is in hand then.
import { writeSync } from 'node:fs';
import { pino } from 'pino';
import { openQueue } from '../../src/queue/segment-queue.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const [directory = '', stayAt = ''] = process.argv.slice(2);
const queue = await openQueue(
  { directory, maxBytes: 64 * 1024 * 1024, destinations: ['mlflow'] },
  { log: pino({ level: 'silent' }), metrics: createMetrics() },
);
const reader = queue.reader('mlflow');
for (let lease = await reader.next(); lease; lease = await reader.next()) {
  const text = Buffer.from(lease.record.payload).toString();
  lease.inHand();
  if (text === stayAt) break;
  lease.outOfHand();
}
writeSync(1, 'ready');
setInterval(() => {}, 1_000_000);
