// Puts a backlog into a queue, says so, and waits to be killed: what it leaves is what a crash leaves.
import { randomBytes, randomFillSync } from 'node:crypto';
import { pino } from 'pino';
import { ExportTraceServiceRequest } from '../../../src/otlp/schema.ts';
import { openQueue } from '../../../src/queue/segment-queue.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { createRequestTemplate } from '../../bench/cost/requests.ts';
import type { BacklogOrder } from './backlog.ts';

/** Appended at the same time, so that many share a sync; bytes, and records. */
const BYTES_AT_ONCE = 16 * 1024 * 1024;
const MOST_AT_ONCE = 4096;

process.once('message', (order: BacklogOrder) => {
  write(order).then(
    () => process.send?.('written'),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    },
  );
});
// Nobody is left to kill it.
process.once('disconnect', () => process.exit(1));

async function write({ directory, maxBytes, records, spansPerRecord, sizes }: BacklogOrder): Promise<void> {
  const queue = await openQueue(
    { directory, maxBytes, destinations: ['mlflow'] },
    { log: pino({ level: 'silent' }), metrics: createMetrics() },
  );
  const payload = sizes === 'tiny' ? tinyRequests() : realisticRequests(spansPerRecord);
  const atOnce = Math.min(Math.ceil(BYTES_AT_ONCE / payload().length), MOST_AT_ONCE);
  let left = records;
  const appendOn = async () => {
    while (left > 0) {
      left--;
      const outcome = await queue.append([
        {
          payload: payload(),
          spanCount: spansPerRecord,
          sender: 'spiffe://e2e.example/ns/test/sa/sender',
          route: { name: 'default', destinations: ['mlflow'], variables: {} },
          receivedAt: Date.now(),
        },
      ]);
      if (outcome !== 'stored') throw new Error(`a record of the backlog was not taken: ${outcome}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, appendOn));
}

/** As an agent's instrumentation makes them, of whole traces. */
function realisticRequests(spans: number): () => Buffer {
  const template = createRequestTemplate(spans);
  return () => Buffer.from(template.next());
}

/** The least that is a span, each of a trace of its own. */
function tinyRequests(): () => Buffer {
  const traceId = randomBytes(16);
  const span = {
    traceId,
    spanId: randomBytes(8),
    name: 'a',
    startTimeUnixNano: '1700000000000000000',
    endTimeUnixNano: '1700000000000000001',
  };
  const request = ExportTraceServiceRequest.fromObject({
    resourceSpans: [{ scopeSpans: [{ spans: [span] }] }],
  });
  const bytes = Buffer.from(ExportTraceServiceRequest.encode(request).finish());
  const at = bytes.indexOf(traceId);
  return () => {
    const copy = Buffer.from(bytes);
    randomFillSync(copy, at, traceId.length);
    return copy;
  };
}
