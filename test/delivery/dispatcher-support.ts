import { setImmediate } from 'node:timers/promises';
import type { Counter, Gauge } from 'prom-client';
import { afterEach, beforeEach, vi } from 'vitest';
import { startDelivery } from '../../src/delivery/dispatcher.ts';
import type { DeliveryOptions } from '../../src/delivery/dispatcher.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { memoryLog, MemoryDeadLetters, MemoryQueue, recordOf, ScriptedDestination } from './support.ts';
import type { Call } from './support.ts';

export const DELIVERED = { kind: 'delivered', rejectedSpans: 0 } as const;

const running = new Set<{ stop(deadlineMs: number): Promise<void> }>();

/** A delivery from a queue in memory to an upstream that the test plays. */
export function deliver(options: Partial<DeliveryOptions> = {}, destination = new ScriptedDestination()) {
  const queue = new MemoryQueue();
  const deadLetters = new MemoryDeadLetters();
  const metrics = createMetrics();
  const { log, lines } = memoryLog();
  const bounds = {
    traceWaitMs: 5000,
    maxBatchSpans: 100,
    maxBatchSize: 100_000,
    maxInFlight: 8,
    timeoutMs: 30_000,
    windowSize: 1e6,
  };
  const delivery = startDelivery(
    { ...bounds, ...options },
    { reader: queue, destination, deadLetters, metrics, log },
  );
  running.add(delivery);
  return { queue, destination, deadLetters, metrics, lines, delivery };
}

/** In each test of the file, time passes only by `pass`; deliveries are stopped at its end. */
export function useTimeOfTest(): void {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
  });
  afterEach(async () => {
    vi.useRealTimers();
    for (const delivery of running) await delivery.stop(0);
    running.clear();
  });
}

export async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  await quiet();
}

/** A record of one whole trace, of two spans. */
export function whole(trace: number) {
  return recordOf([{ trace, isRoot: true }, { trace }]);
}

/** Lets everything run that can run without time passing. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

export async function valueOf(metric: Counter<string> | Gauge<string>, labels: Record<string, string> = {}) {
  const { values } = await metric.get();
  return values.find((value) => Object.entries(labels).every(([name, label]) => value.labels[name] === label))
    ?.value;
}

/** Answers all that is sent, for so long. */
export async function answerAll(
  destination: ScriptedDestination,
  answer: (call: Call) => SendOutcome,
  { seconds = 60, until = () => false }: { seconds?: number; until?: () => boolean } = {},
): Promise<void> {
  for (let turn = 0; turn < seconds * 10 && !until(); turn++) {
    for (const call of destination.inFlight) call.answer(answer(call));
    await pass(100);
  }
}
