import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { createClientCredentials } from '../../../src/auth/client-credentials.ts';
import type { TokenSource } from '../../../src/auth/token-source.ts';
import type { Destination, SendOutcome } from '../../../src/destinations/destination.ts';
import type { ExperimentChoice } from '../../../src/destinations/experiment-words.ts';
import { createMlflowDestination } from '../../../src/destinations/mlflow.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import type { Stack } from './stack.ts';

/* The relay's destination alone, in this process, before the MLflow of a stack. */

const LOG = pino({ level: 'silent' });

export type DirectOptions = {
  readonly tokens?: TokenSource | 'none';
  /** Behind MLflow's address. */
  readonly path?: string;
};

export type Direct = {
  /** The parts as one request. */
  send(...parts: Uint8Array[]): Promise<SendOutcome>;
  probe(): Promise<SendOutcome | undefined>;
  readonly mlflow: Destination;
};

/** Gone after the test. */
export function directDestination(
  stack: Stack,
  experiment: ExperimentChoice,
  { tokens = tokensOf(stack), path = '' }: DirectOptions = {},
): Direct {
  const mlflow = createMlflowDestination(
    {
      name: 'mlflow',
      url: new URL(stack.mlflowUrl + path),
      experiment,
      workspace: undefined,
      tls: {},
      timeoutMs: 60_000,
      maxResponseSize: 1024 * 1024,
      repair: true,
    },
    { tokens: tokens === 'none' ? undefined : tokens, log: LOG },
  );
  onTestFinished(() => mlflow.close());
  const target = mlflow.targetOf({ name: 'default', destinations: ['mlflow'], variables: {} });
  const { signal } = new AbortController();
  return {
    send: (...parts) => mlflow.send(target, parts, signal),
    probe: async () => await mlflow.probe?.(target, signal),
    mlflow,
  };
}

/** As the relay gets them. */
function tokensOf(stack: Stack): TokenSource {
  const { clientId, secret } = stack.client;
  const tokens = createClientCredentials(
    {
      destination: 'mlflow',
      issuer: stack.issuer,
      discoveryUrl: undefined,
      clientId,
      clientSecret: () => Promise.resolve(secret),
      scope: undefined,
      audience: undefined,
      resource: undefined,
      caFile: undefined,
      allowHttp: false,
      timeoutMs: 30_000,
    },
    { log: LOG, metrics: createMetrics() },
  );
  onTestFinished(() => tokens.close());
  return tokens;
}
