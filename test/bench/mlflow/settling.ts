import { setTimeout as pause } from 'node:timers/promises';
import { median } from '../median.ts';
import { figure } from '../table.ts';
import { startRelay } from './forwarders.ts';
import type { Relay, Surroundings } from './forwarders.ts';
import { makeExports } from './measure.ts';
import type { Limits } from './report.ts';
import { sendExports } from './senders.ts';

/** More than is stored meanwhile, and sent faster than it is stored. */
const LOAD = {
  name: 'settling',
  traces: 6000,
  spansPerTrace: 20,
  spansPerSecond: 8000,
  traceSeconds: 1,
};
export const SETTLING_SECONDS = 60;
const EVERY_MS = 250;

/** What the relay gives MLflow while more waits than goes, at even times. */
export async function watchSettling(around: Surroundings): Promise<Limits[]> {
  const relay = await startRelay(around);
  const over = new AbortController();
  const signal = AbortSignal.any([around.signal, over.signal]);
  try {
    const { beganAt, exports } = makeExports(LOAD);
    const sending = sendExports(relay.url, around.certificates, exports, signal);
    const samples = sample(relay, beganAt, signal);
    // Sending is over before, unless it fails.
    return await Promise.race([samples, sending.then(() => samples)]);
  } finally {
    over.abort();
    await relay.stop();
  }
}

async function sample(relay: Relay, beganAt: number, signal: AbortSignal): Promise<Limits[]> {
  await pause(Math.max(0, beganAt - Date.now()) + EVERY_MS, undefined, { signal });
  const samples: Limits[] = [];
  while (Date.now() < beganAt + SETTLING_SECONDS * 1000 && !(await relay.isDone(0))) {
    samples.push(await relay.limits());
    await pause(EVERY_MS, undefined, { signal });
  }
  return samples;
}

/** Where it has settled: of the later half of the time. */
export function settlingReport(upstream: string, samples: readonly Limits[]): string {
  const late = samples.slice(Math.floor(samples.length / 2));
  const byLevel = [...Map.groupBy(late, ({ inFlight }) => inFlight)].toSorted(([a], [b]) => a - b);
  const shares = byLevel.map(
    ([level, { length }], index) =>
      `${level} at once ${figure((100 * length) / late.length)} %${index === 0 ? ' of the time' : ''}`,
  );
  const spans = figure(median(late.map(({ batchSpans }) => batchSpans)));
  return `${upstream}: ${shares.join(', ')}; requests of up to ${spans} spans`;
}
