import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { createOtlpClient } from '../../stack/otlp-client.ts';
import type { OtlpClient } from '../../stack/otlp-client.ts';
import { StackError, waitFor } from '../../stack/processes.ts';
import { createEncoder } from './encode.ts';
import { startRelay } from './forwarders.ts';
import type { Setting } from './setting.ts';

const TRACES = 20;
/** A child, and its root after a while, as from two services. */
const SHAPE = { name: 'lone', traces: 1 + TRACES, spansPerTrace: 2, spansPerSecond: 1, traceSeconds: 0.2 };
const ROOT_AFTER_MS = 100;
const DEADLINE_MS = 30_000;
/** Asking costs the relay a little: not while it has the trace in hand. */
const FIRST_LOOK_MS = 500;

/**
 * Traces through the relay one after the other, with nothing else to do for it and for MLflow. PostgreSQL tells when
 * each was committed, which is when it can be read.
 * @returns ms from the answer to the root until its trace was committed, of each
 */
export async function measureLoneTraces(
  setting: Setting,
  directory: string,
  signal: AbortSignal,
): Promise<number[]> {
  const { mlflowUrl, issuer, client, certificates, database } = setting;
  await database.clear();
  const experimentId = await setting.createExperiment();
  const around = { mlflowUrl, issuer, client, certificates, directory, experimentId, signal };
  const relay = await startRelay(around);
  const { caFile, clientCertFile, clientKeyFile } = certificates;
  const files = { caFile, certFile: clientCertFile, keyFile: clientKeyFile };
  const sender = await createOtlpClient(relay.url, files);
  try {
    const answeredAt: number[] = [];
    const encode = createEncoder(SHAPE, randomBytes(8).toString('hex'), Date.now());
    for (let trace = 0; trace < SHAPE.traces; trace++) {
      await send(sender, encode([{ trace, index: 0, service: 0, endMs: 100 }]));
      await pause(ROOT_AFTER_MS, undefined, { signal });
      await send(sender, encode([{ trace, index: 1, service: 1, endMs: 200 }]));
      answeredAt.push(performance.timeOrigin + performance.now());
      await pause(FIRST_LOOK_MS, undefined, { signal });
      await waitFor('the relay was not done', DEADLINE_MS, async () => (await relay.isDone(0)) || undefined, {
        signal,
      });
    }
    const storedAt = await database.completedAt(experimentId);
    if (storedAt.length !== SHAPE.traces)
      throw new StackError(`of ${SHAPE.traces} lone traces ${storedAt.length} are in MLflow`);
    // Without the first one, for which the relay has fetched a token.
    return answeredAt.map((at, trace) => (storedAt[trace] ?? Number.NaN) - at).slice(1);
  } finally {
    await sender.close();
    await relay.stop();
  }
}

async function send(sender: OtlpClient, body: Buffer): Promise<void> {
  const { status } = await sender.post(body);
  if (status !== 200) throw new StackError(`a lone trace was answered ${status}`);
}
