import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import type { TraceRecord } from '../../src/otlp/record.ts';
import { openQueue } from '../../src/queue/segment-queue.ts';
import type { QueueOptions } from '../../src/queue/segment-queue.ts';
import type { Lease, QueueReader } from '../../src/queue/queue.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'relay-queue-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export function record(
  text: string,
  options: { spans?: number; to?: string[]; bytes?: number } = {},
): TraceRecord {
  const payload = Buffer.alloc(options.bytes ?? text.length, text);
  return {
    payload,
    spanCount: options.spans ?? 1,
    sender: 'spiffe://test/sender',
    route: { name: 'default', destinations: options.to ?? ['mlflow'], variables: {} },
    receivedAt: 1_700_000_000_000,
  };
}

export async function open(directory: string, options: Partial<QueueOptions> = {}) {
  const metrics = createMetrics();
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { level: 'info', formatters: { level: (level) => ({ level }) } },
    { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  const queue = await openQueue(
    { directory, maxBytes: 64 * 1024 * 1024, destinations: ['mlflow'], ...options },
    { log, metrics },
  );
  let closed: Promise<void> | undefined;
  const close = () => (closed ??= queue.close());
  onTestFinished(close);
  return { queue, metrics, close, logged: () => lines };
}

/** Everything that is there to read now. */
export async function readAll(reader: QueueReader): Promise<Lease[]> {
  const leases: Lease[] = [];
  for (let lease = await reader.next(); lease; lease = await reader.next()) leases.push(lease);
  return leases;
}

export function textOf(lease: Lease): string {
  return Buffer.from(lease.record.payload).toString();
}

export async function segmentFiles(directory: string): Promise<string[]> {
  const names = await readdir(join(directory, 'segments'));
  return names.filter((name) => name.endsWith('.segment')).toSorted();
}
