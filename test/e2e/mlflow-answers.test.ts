import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createClientCredentials } from '../../src/auth/client-credentials.ts';
import type { TokenSource } from '../../src/auth/token-source.ts';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import type { ExperimentChoice } from '../../src/destinations/experiment.ts';
import { createMlflowDestination } from '../../src/destinations/mlflow.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import type { StoredSpan } from '../stack/mlflow-client.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { asStored, inOrder, makeTrace, requestOf, toProtobuf } from './support/traces.ts';

/* What the real MLflow with mlflow-oidc-auth answers, and what the destination makes of it. */

/** One ResourceSpans with nothing in it. */
const PROBE = Buffer.from([0x0a, 0x00]);
const LOG = pino({ level: 'silent' });

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

/** As the relay gets them. */
function realTokens(): TokenSource {
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

/** A source that has nothing better. */
function fixedToken(value: string): TokenSource & { drops: number } {
  return {
    drops: 0,
    token: () => Promise.resolve({ kind: 'token', value }),
    drop() {
      this.drops += 1;
    },
    expiresAt: () => undefined,
    close: () => Promise.resolve(),
  };
}

function sender(
  experiment: ExperimentChoice,
  { tokens = realTokens(), path = '' }: { tokens?: TokenSource | 'none'; path?: string } = {},
) {
  const mlflow = createMlflowDestination(
    {
      name: 'mlflow',
      url: new URL(stack.mlflowUrl + path),
      experiment,
      workspace: undefined,
      tls: {},
      timeoutMs: 60_000,
      maxResponseSize: 1024 * 1024,
    },
    { tokens: tokens === 'none' ? undefined : tokens, log: LOG },
  );
  onTestFinished(() => mlflow.close());
  const target = mlflow.targetOf({ name: 'default', destinations: ['mlflow'], variables: {} });
  return (...parts: Uint8Array[]): Promise<SendOutcome> =>
    mlflow.send(target, parts, new AbortController().signal);
}

const newExperiment = () => stack.mlflow.ensureExperiment(stack.experimentName());
const payload = (more: Partial<StoredSpan> = {}) => toProtobuf(requestOf(makeTrace(2, more).spans));

async function setDeleted(experimentId: string, isDeleted: boolean): Promise<void> {
  const path = `/api/2.0/mlflow/experiments/${isDeleted ? 'delete' : 'restore'}`;
  const response = await fetch(stack.mlflowUrl + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${await stack.token()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ experiment_id: experimentId }),
  });
  expect(response.status).toBe(200);
}

const DELIVERED: SendOutcome = { kind: 'delivered', rejectedSpans: 0 };

/** With these words in its reason, in this order. */
function outcome(kind: SendOutcome['kind'], ...words: string[]) {
  const pattern = words.map((word) => word.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)).join('.*');
  return { kind, reason: expect.stringMatching(pattern) as string };
}

describe('taken', () => {
  test('into an experiment that is made for it, and stored as it was sent, from several parts', async () => {
    const name = stack.experimentName();
    const traces = [makeTrace(3), makeTrace(40)];
    const send = sender({ name });
    expect(await send(...traces.map(({ spans }) => toProtobuf(requestOf(spans))))).toEqual(DELIVERED);

    const experimentId = (await stack.mlflow.findExperiment(name)) ?? 'none';
    expect((await stack.mlflow.searchTraces(experimentId)).toSorted()).toEqual(
      traces.map(({ traceId }) => traceId).toSorted(),
    );
    for (const { traceId, spans } of traces) {
      const stored = await stack.mlflow.getTrace(traceId);
      expect(inOrder(stored?.spans ?? [])).toEqual(asStored(spans));
    }
  });

  test('again: the same spans are there once', async () => {
    const experimentId = await newExperiment();
    const send = sender({ id: experimentId });
    const { traceId, spans } = makeTrace(2);
    const body = toProtobuf(requestOf(spans));
    expect(await send(body)).toEqual(DELIVERED);
    expect(await send(body)).toEqual(DELIVERED);
    expect((await stack.mlflow.getTrace(traceId))?.spans).toHaveLength(2);
  });

  test('a probe without spans, which leaves nothing', async () => {
    const experimentId = await newExperiment();
    expect(await sender({ id: experimentId })(PROBE)).toEqual(DELIVERED);
    expect(await stack.mlflow.searchTraces(experimentId)).toEqual([]);
  });

  test('by two relays that start with the same missing experiment', async () => {
    const name = stack.experimentName();
    const senders = [sender({ name }), sender({ name }), sender({ name })];
    expect(await Promise.all(senders.map((send) => send(payload())))).toEqual(senders.map(() => DELIVERED));
    const experimentId = (await stack.mlflow.findExperiment(name)) ?? 'none';
    expect(await stack.mlflow.searchTraces(experimentId)).toHaveLength(3);
  });
});

describe('blocked', () => {
  test.each(['999999', 'abc'])('experiment id %s, which is none', async (id) => {
    expect(await sender({ id })(payload())).toMatchObject(
      outcome('blocked', '/v1/traces answers 403 (Permission denied)', `EDIT or MANAGE on experiment ${id}`),
    );
  });

  test('an experiment that the account may not write to', async () => {
    // MLflow's own, which nobody was given.
    expect(await sender({ id: '0' })(payload())).toMatchObject(
      outcome(
        'blocked',
        '403 (Permission denied)',
        'EDIT or MANAGE on experiment 0, and the experiment must exist',
      ),
    );
    expect(await sender({ name: 'Default' })(payload())).toMatchObject(
      outcome('blocked', '/get-by-name answers 403', 'EDIT or MANAGE on experiment "Default"'),
    );
  });

  test('a deleted experiment, which MLflow itself would answer 200; restored, it goes on', async () => {
    const name = stack.experimentName();
    const id = await stack.mlflow.ensureExperiment(name);
    await setDeleted(id, true);
    const senders = [sender({ id }), sender({ name })];
    for (const send of senders) {
      expect(await send(payload())).toMatchObject(outcome('blocked', 'is deleted in MLflow', 'restore it'));
    }
    await setDeleted(id, false);
    for (const send of senders) expect(await send(payload())).toEqual(DELIVERED);
    expect(await stack.mlflow.searchTraces(id)).toHaveLength(2);
  });

  test('a path where MLflow is not', async () => {
    const id = await newExperiment();
    expect(await sender({ id }, { path: '/nowhere' })(payload())).toMatchObject(
      outcome('blocked', '/nowhere/v1/traces answers 404', 'check the path of url'),
    );
  });

  test('no token', async () => {
    const id = await newExperiment();
    expect(await sender({ id }, { tokens: 'none' })(payload())).toMatchObject(
      outcome('blocked', 'answers 401 (Authentication required)', 'set auth of mlflow'),
    );
  });
});

test.each(['no JWT', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZWxheSJ9.'])(
  'a wrong token is dropped: %s',
  async (value) => {
    const tokens = fixedToken(value);
    const id = await newExperiment();
    expect(await sender({ id }, { tokens })(payload())).toMatchObject(
      outcome('unauthorized', 'answers 401 (Authentication required)'),
    );
    expect(tokens.drops).toBe(1);
  },
);

describe('refused', () => {
  test.each<[string, () => Uint8Array, string, true | undefined]>([
    [
      'a session id that is too long',
      () => payload({ attributes: { 'session.id': 'x'.repeat(300) } }),
      "INVALID_PARAMETER_VALUE: 'Session ID' exceeds the maximum length of 250 characters",
      undefined,
    ],
    [
      'a time that is no time',
      () => payload({ start: 2n ** 64n - 1n }),
      'answers 500 (INTERNAL_ERROR: Python int too large to convert',
      true,
    ],
    [
      'a cost that is none',
      () => payload({ attributes: { 'mlflow.llm.cost': '[1,2]' } }),
      'answers 422 (Failed to log OpenTelemetry spans)',
      true,
    ],
    [
      'no span id',
      () => payload({ spanId: '' }),
      'answers 422 (Cannot convert OpenTelemetry span',
      undefined,
    ],
    [
      'bytes that are no spans',
      () => Buffer.from('abc'),
      'answers 400 (Invalid OpenTelemetry format)',
      undefined,
    ],
    [
      'nothing',
      () => Buffer.alloc(0),
      'answers 400 (Invalid OpenTelemetry format - no spans found)',
      undefined,
    ],
  ])('%s', async (_, body, words, doubtful) => {
    const id = await newExperiment();
    const got = await sender({ id })(body());
    expect(got).toMatchObject(outcome('refused', words));
    expect('doubtful' in got ? got.doubtful : undefined).toBe(doubtful);
    expect(await stack.mlflow.searchTraces(id)).toEqual([]);
  });
});
