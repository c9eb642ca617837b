import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import type { TraceRecord } from '../../../src/otlp/record.ts';
import type { FileSystem } from '../../../src/queue/filesystem.ts';
import type { DeadLetter, Lease, QueueReader } from '../../../src/queue/queue.ts';
import { openQueue } from '../../../src/queue/segment-queue.ts';
import type { QueueOptions } from '../../../src/queue/segment-queue.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';

export const DIRECTORY = '/queue';
export const SEGMENTS = `${DIRECTORY}/segments`;
export const DAMAGED = `${SEGMENTS}/damaged`;
export const POSITIONS = `${DIRECTORY}/positions`;
export const DEAD_LETTERS = `${DIRECTORY}/dead-letters`;

export type LogLine = { readonly msg: string; readonly [field: string]: unknown };

/** One for all queues of a test file: making them is dear. The counter of damaged bytes starts anew for each queue. */
const metrics = createMetrics();

/** A queue on a disk of the test's own, with what it logs and counts. */
export async function openOn(fs: FileSystem, options: Partial<QueueOptions> = {}) {
  const lines: LogLine[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line) as LogLine) });
  metrics.queueDamagedBytes.reset();
  const queue = await openQueue(
    {
      directory: DIRECTORY,
      maxBytes: 1024 * 1024,
      destinations: ['mlflow'],
      fs,
      lock: () => () => {},
      ...options,
    },
    { log, metrics },
  );
  return {
    queue,
    lines,
    reader: queue.reader(options.destinations?.[0] ?? 'mlflow'),
    damagedBytes: async () => (await metrics.queueDamagedBytes.get()).values[0]?.value ?? 0,
  };
}

export function recordOf(text: string, options: { bytes?: number; to?: string[] } = {}): TraceRecord {
  const payload = Buffer.alloc(options.bytes ?? text.length, '.');
  payload.write(text);
  return {
    payload,
    spanCount: 3,
    sender: 'spiffe://test/sender',
    route: { name: 'default', destinations: options.to ?? ['mlflow'], variables: {} },
    receivedAt: 1_700_000_000_000,
  };
}

export function letterOf(text: string): DeadLetter {
  return {
    ...recordOf(text),
    id: randomUUID(),
    destination: 'mlflow',
    target: 'experiment 1',
    refusedAt: 1_700_000_001_000,
    attempts: 1,
    status: 400,
    reason: 'refused',
    repaired: undefined,
  };
}

export async function readAll(reader: QueueReader): Promise<Lease[]> {
  const leases: Lease[] = [];
  for (let lease = await reader.next(); lease; lease = await reader.next()) leases.push(lease);
  return leases;
}

/** The text that the record was made of. */
export function textOf({ record }: Lease): string {
  const text = Buffer.from(record.payload).toString('latin1');
  return text.replace(/\.+$/, '');
}

export function settleAll(leases: readonly Lease[]): void {
  for (const lease of leases) lease.settle();
}
