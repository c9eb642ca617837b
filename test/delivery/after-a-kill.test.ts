import { expect, onTestFinished, test } from 'vitest';
import { startDelivery } from '../../src/delivery/dispatcher.ts';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import type { TraceRecord } from '../../src/otlp/record.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { MemoryDisk } from '../fault/support/memory-disk.ts';
import { DIRECTORY, openOn } from '../fault/support/queue-in-memory.ts';
import { lettersIn } from '../queue/letters.ts';
import { answerAll, DELIVERED, useTimeOfTest } from './dispatcher-support.ts';
import { decode, encode, memoryLog, recordOf, ScriptedDestination } from './support.ts';
import type { Call } from './support.ts';

/* A delivery from a real queue: what it sends after a relay that was killed. Trace 0 is never answered, and is the oldest. */

useTimeOfTest();

const BAD = { kind: 'refused', status: 400, reason: '400: bad' } as const;
const UNANSWERED = recordOf([{ trace: 0, isRoot: true }], { sender: 'other' });

const spanTraces = (call: Call) => call.spans.map(({ trace }) => trace);

async function start(disk: MemoryDisk, more: { maxBatchSpans?: number; windowSize?: number } = {}) {
  const { queue, reader } = await openOn(disk, { maxBytes: 64 * 1024 * 1024 });
  const destination = new ScriptedDestination();
  const options = { traceWaitMs: 0, maxBatchSize: 1e6, maxInFlight: 8, timeoutMs: 1e9 };
  const limits = { maxBatchSpans: 100, windowSize: 1e6, ...more };
  const metrics = createMetrics();
  const { log } = memoryLog();
  const { deadLetters } = queue;
  const delivery = startDelivery(
    { ...options, ...limits },
    { reader, destination, deadLetters, metrics, log },
  );
  onTestFinished(() => delivery.stop(0));
  const waiting = () => queue.status().destinations['mlflow']!.waitingSpans;
  /** Until nothing waits any more but so many spans. */
  const deliverUntil = (left: number, answer: (call: Call) => SendOutcome) =>
    answerAll(destination, (call) => answer(call), { until: () => waiting() <= left });
  return { queue, destination, waiting, deliverUntil };
}

/** As a relay is found that was killed at this moment. */
const killed = (disk: MemoryDisk) => new MemoryDisk(disk.files());

async function diskOf(...records: TraceRecord[]): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const { queue } = await openOn(disk, { maxBytes: 64 * 1024 * 1024 });
  for (const record of records) expect(await queue.append([record])).toBe('stored');
  await queue.close();
  return disk;
}

/** Takes all but what has a span of these traces, and answers trace 0 by saying that it is busy. */
function refusing(...bad: number[]) {
  return (call: Call): SendOutcome => {
    if (spanTraces(call).some((trace) => bad.includes(trace))) return BAD;
    return call.traces.includes(0) ? { kind: 'retry', reason: 'busy' } : DELIVERED;
  };
}

test('a span that became a dead letter is neither sent nor lettered again, and its neighbours are sent as they came', async () => {
  const mixed = recordOf([
    { trace: 1, isRoot: true },
    { trace: 2, isRoot: true },
    { trace: 2 },
    { trace: 3 },
  ]);
  const disk = await diskOf(UNANSWERED, mixed);
  const first = await start(disk);
  await first.deliverUntil(1, refusing(2));
  expect(await lettersIn(DIRECTORY, disk)).toHaveLength(2);

  const after = killed(disk);
  const second = await start(after);
  expect(second.waiting()).toBe(3);
  await second.deliverUntil(1, refusing(2));
  const sent = second.destination.calls
    .filter(({ traces }) => !traces.includes(0))
    .flatMap(({ spans }) => spans);
  const [one, , , three] = decode(mixed.payload);
  expect(sent.toSorted((a, b) => a.trace - b.trace)).toEqual([one, three]);
  expect(await lettersIn(DIRECTORY, after)).toHaveLength(2);
});

test('where a span of what was left is refused later, its letter has that span, and the next start knows both', async () => {
  const disk = await diskOf(UNANSWERED, recordOf([{ trace: 1 }, { trace: 2 }, { trace: 3 }, { trace: 4 }]));
  const first = await start(disk);
  // Until then nothing else is stored.
  await first.deliverUntil(4, (call) =>
    call.traces.length === 1 && call.traces[0] === 4 ? DELIVERED : refusing(2)(call),
  );
  const once = killed(disk);
  const second = await start(once);
  await second.deliverUntil(1, refusing(2, 3));
  const origins = (await lettersIn(DIRECTORY, once)).map(({ meta }) => meta.origins);
  expect(origins).toMatchObject([[{ of: 4, spans: [1, 1] }], [{ of: 4, spans: [2, 1] }]]);
});

test('of a large record, which enters in parts, no part sends again what left as a letter', async () => {
  const ALL = 9000;
  const bad = [0, 4095, 4096, 8999];
  const traces = Array.from({ length: ALL }, (_, at) => ({ trace: at + 1, isRoot: true }));
  const disk = await diskOf(UNANSWERED, recordOf(traces));
  const isBad = (call: Call) => call.traces.some((trace) => bad.includes(trace - 1));
  const limits = { maxBatchSpans: 1000, windowSize: 64e6 };
  const first = await start(disk, limits);
  await first.deliverUntil(1, (call) => (isBad(call) ? BAD : refusing()(call)));
  expect(await lettersIn(DIRECTORY, disk)).toHaveLength(bad.length);

  const after = killed(disk);
  const second = await start(after, limits);
  expect(second.waiting()).toBe(1 + ALL - bad.length);
  await second.deliverUntil(1, (call) => (isBad(call) ? BAD : refusing()(call)));
  const sent = second.destination.calls.flatMap(spanTraces).filter((trace) => trace > 0);
  expect(sent).toHaveLength(ALL - bad.length);
  expect(new Set(sent).size).toBe(sent.length);
  expect(await lettersIn(DIRECTORY, after)).toHaveLength(bad.length);
});

test('a record that became a letter untried, as a whole or what was left of it, does not come again', async () => {
  const disk = await diskOf(UNANSWERED, recordOf([{ trace: 5 }, { trace: 6 }]));
  const opened = await openOn(disk, { maxBytes: 64 * 1024 * 1024 });
  const [, lease] = [await opened.reader.next(), await opened.reader.next()];
  const { untriedLetters } = await import('../../src/delivery/whole-letter.ts');
  await opened.queue.deadLetters.append([
    {
      ...untriedLetters([lease!], 'mlflow')[0]!,
      spanCount: 1,
      payload: new Uint8Array(),
      ...lease!.leave([0]),
    },
  ]);
  const once = killed(disk);
  const again = await openOn(once, { maxBytes: 64 * 1024 * 1024 });
  const [, rest] = [await again.reader.next(), await again.reader.next()];
  const letters = untriedLetters([rest!], 'mlflow');
  expect(letters).toMatchObject([{ spanCount: 1 }]);
  expect(decode(letters[0]!.payload).map(({ trace }) => trace)).toEqual([6]);
  await again.queue.deadLetters.append(letters);
  const last = await openOn(killed(once), { maxBytes: 64 * 1024 * 1024 });
  expect(last.queue.status().destinations['mlflow']).toMatchObject({ waitingSpans: 1, recoveredSpans: 1 });
});

test('copies of a bad span in other records leave with its letter, and are not lettered after a kill', async () => {
  const span = { trace: 2, isRoot: true, id: 77 };
  const scopes = (name: string) => [
    { name, spans: [span, { trace: 3, isRoot: true, id: 78 + name.length }] },
  ];
  const record = recordOf([{ trace: 2 }, { trace: 3 }]);
  const [one, other] = ['lib', 'other lib'].map((name) => encode([{ name: 'agent', scopes: scopes(name) }]));
  const disk = await diskOf(UNANSWERED, { ...record, payload: one! }, { ...record, payload: other! });
  const first = await start(disk);
  await first.deliverUntil(1, refusing(2));
  const letters = await lettersIn(DIRECTORY, disk);
  expect(letters.map(({ meta }) => meta.origins?.length)).toEqual([2]);

  const after = killed(disk);
  const second = await start(after);
  expect(second.waiting()).toBe(3);
  await second.deliverUntil(1, refusing(2));
  expect(second.destination.calls.flatMap(spanTraces)).not.toContain(2);
  expect(await lettersIn(DIRECTORY, after)).toHaveLength(1);
});
