import { onTestFinished } from 'vitest';
import type { TokenSource } from '../../src/auth/token-source.ts';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { createMlflowDestination } from '../../src/destinations/mlflow.ts';
import type { MlflowOptions } from '../../src/destinations/mlflow.ts';
import { memoryLog } from '../auth/support.ts';
import { startUpstream } from './support.ts';

/* An MLflow destination and a stand-in for MLflow, gone after the test. */

export const DELIVERED = { kind: 'delivered', rejectedSpans: 0 };

export async function upstream(...parameters: Parameters<typeof startUpstream>) {
  const started = await startUpstream(...parameters);
  onTestFinished(() => started.stop());
  return started;
}

export function destination(url: string, changes: Partial<MlflowOptions> = {}, tokens?: TokenSource) {
  const { log, lines } = memoryLog();
  const mlflow = createMlflowDestination(
    {
      name: 'mlflow',
      url: new URL(url),
      experiment: { name: 'traces' },
      workspace: undefined,
      tls: {},
      timeoutMs: 10_000,
      maxResponseSize: 65_536,
      repair: true,
      ...changes,
    },
    { tokens, log },
  );
  onTestFinished(() => mlflow.close());
  const target = mlflow.targetOf({ name: 'default', destinations: ['mlflow'], variables: {} });
  const never = new AbortController().signal;
  return {
    mlflow,
    lines,
    target,
    send: (...parts: Uint8Array[]): Promise<SendOutcome> =>
      mlflow.send(target, parts.length === 0 ? [Buffer.from([0x0a, 0x00])] : parts, never),
    probe: (): Promise<SendOutcome> | undefined => mlflow.probe?.(target, never),
  };
}
