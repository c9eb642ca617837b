import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TokenSource } from '../../src/auth/token-source.ts';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import type { ExperimentChoice } from '../../src/destinations/experiment-words.ts';
import type { StoredSpan } from '../stack/mlflow-client.ts';
import { directDestination } from './support/destination.ts';
import type { DirectOptions } from './support/destination.ts';
import { ACCOUNT, createOtherOwner } from './support/other-owner.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { asStored, inOrder, makeTrace, requestOf, toProtobuf } from './support/traces.ts';

/* What the real MLflow with mlflow-oidc-auth answers, and what the destination makes of it. */

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

/** A source that has nothing better. */
function fixedToken(value: string): TokenSource & { drops: number } {
  return {
    drops: 0,
    token: () => Promise.resolve({ kind: 'token', value }),
    drop() {
      this.drops += 1;
    },
    doubt: () => {},
    postpone: () => {},
    expiresAt: () => undefined,
    close: () => Promise.resolve(),
  };
}

const direct = (experiment: ExperimentChoice, options?: DirectOptions) =>
  directDestination(stack, experiment, options);
const sender = (experiment: ExperimentChoice, options?: DirectOptions) => direct(experiment, options).send;
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

/** Status, content type and body of the answer to traces with the token of the relay's account. */
async function postDirectly(headers: Record<string, string>): Promise<unknown> {
  const response = await fetch(`${stack.mlflowUrl}/v1/traces`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${await stack.token()}`,
      'content-type': 'application/x-protobuf',
      ...headers,
    },
    body: payload(),
  });
  return [response.status, response.headers.get('content-type'), await response.text()];
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
    expect(await direct({ id: experimentId }).probe()).toEqual(DELIVERED);
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

/** As delivery asks: once more, at once, where a fresh token may help. */
async function inDelivery(request: () => Promise<SendOutcome>): Promise<SendOutcome> {
  const first = await request();
  return first.kind === 'unauthorized' ? await request() : first;
}

describe('blocked', () => {
  test.each(['999999', 'abc'])('experiment id %s, which is none', async (id) => {
    const send = sender({ id });
    expect(await inDelivery(() => send(payload()))).toMatchObject(
      outcome(
        'blocked',
        '/v1/traces answers 403 (Permission denied)',
        `the service account ${ACCOUNT} needs EDIT on experiment ${id}`,
      ),
    );
  });

  test('an experiment that the account may not write to', async () => {
    // MLflow's own, which nobody was given.
    const [byId, byName] = [sender({ id: '0' }), sender({ name: 'Default' })];
    expect(await inDelivery(() => byId(payload()))).toMatchObject(
      outcome(
        'blocked',
        '403 (Permission denied)',
        `the service account ${ACCOUNT} needs EDIT on experiment 0, which must exist`,
      ),
    );
    expect(await inDelivery(() => byName(payload()))).toMatchObject(
      outcome('blocked', '/get-by-name answers 403', 'needs EDIT on experiment "Default"'),
    );
  });

  test('an experiment that the account may only read, until it may write; a probe says the same', async () => {
    const owner = createOtherOwner(stack);
    const name = stack.experimentName();
    const id = await owner.mlflow.ensureExperiment(name);
    await owner.mlflow.grant(id, ACCOUNT, 'READ');
    const { send, probe } = direct({ name });
    const lacks = outcome(
      'blocked',
      '403 (Permission denied)',
      `${ACCOUNT} needs EDIT on experiment "${name}"`,
    );
    expect(await inDelivery(() => send(payload()))).toMatchObject(lacks);
    expect(await probe()).toMatchObject(lacks);

    await owner.changePermission(id, 'EDIT');
    expect(await probe()).toEqual(DELIVERED);
    expect(await send(payload())).toEqual(DELIVERED);
    expect(await stack.mlflow.searchTraces(id)).toHaveLength(1);
  });

  test('a request whose header was lost on the way: the same answer as without a permission', async () => {
    const answer = [403, 'text/plain; charset=utf-8', 'Permission denied'];
    expect(await postDirectly({})).toEqual(answer);
    expect(await postDirectly({ 'x-mlflow-experiment-id': '0' })).toEqual(answer);
  });

  test('a deleted experiment, which MLflow itself would answer 200; restored, it goes on', async () => {
    const name = stack.experimentName();
    const id = await stack.mlflow.ensureExperiment(name);
    await setDeleted(id, true);
    const both = [direct({ id }), direct({ name })];
    const deleted = outcome('blocked', 'is deleted in MLflow', 'restore it');
    for (const { send, probe } of both) {
      expect(await send(payload())).toMatchObject(deleted);
      expect(await probe()).toMatchObject(deleted);
    }
    await setDeleted(id, false);
    for (const { send, probe } of both) {
      expect(await probe()).toEqual(DELIVERED);
      expect(await send(payload())).toEqual(DELIVERED);
    }
    expect(await stack.mlflow.searchTraces(id)).toHaveLength(2);
  });

  test('a deleted experiment, before it is looked at again: what goes there comes back with it', async () => {
    const id = await newExperiment();
    const send = sender({ id });
    expect(await send(payload())).toEqual(DELIVERED);
    await setDeleted(id, true);
    const { traceId, spans } = makeTrace(3);
    expect(await send(toProtobuf(requestOf(spans)))).toEqual(DELIVERED);
    await setDeleted(id, false);
    expect(await stack.mlflow.searchTraces(id)).toContain(traceId);
    expect(inOrder((await stack.mlflow.getTrace(traceId))?.spans ?? [])).toEqual(asStored(spans));
  });

  test('a path where MLflow is not; a probe says the same', async () => {
    const id = await newExperiment();
    const { send, probe } = direct({ id }, { path: '/nowhere' });
    const elsewhere = outcome('blocked', '/nowhere/v1/traces answers 404', 'check the path of url');
    expect(await send(payload())).toMatchObject(elsewhere);
    expect(await probe()).toMatchObject(elsewhere);
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
  test.each<[string, () => Uint8Array, number, string, true | undefined]>([
    [
      'a session id that is too long',
      () => payload({ attributes: { 'session.id': 'x'.repeat(300) } }),
      400,
      "INVALID_PARAMETER_VALUE: 'Session ID' exceeds the maximum length of 250 characters",
      undefined,
    ],
    [
      'a time that is no time',
      () => payload({ start: 2n ** 64n - 1n }),
      500,
      'INTERNAL_ERROR: Python int too large to convert',
      undefined,
    ],
    [
      'half a character',
      () => payload({ attributes: { 'session.id': String.raw`"\ud800"` } }),
      500,
      "INTERNAL_ERROR: 'utf-8' codec can't encode character",
      undefined,
    ],
    [
      'a type that is a list',
      () => payload({ attributes: { 'mlflow.spanType': ['LLM'] } }),
      400,
      'BAD_REQUEST: (sqlite3.ProgrammingError) Error binding parameter',
      undefined,
    ],
    [
      'a cost that is none',
      () => payload({ attributes: { 'mlflow.llm.cost': '[1,2]' } }),
      422,
      'Failed to log OpenTelemetry spans',
      true,
    ],
    ['no span id', () => payload({ spanId: '' }), 422, 'Cannot convert OpenTelemetry span', undefined],
    ['bytes that are no spans', () => Buffer.from('abc'), 400, 'Invalid OpenTelemetry format)', undefined],
    ['nothing', () => Buffer.alloc(0), 400, 'Invalid OpenTelemetry format - no spans found)', undefined],
  ])('%s', async (_, body, status, words, doubtful) => {
    const id = await newExperiment();
    const got = await sender({ id })(body());
    expect(got).toMatchObject({ ...outcome('refused', `answers ${status} (${words}`), status });
    expect('doubtful' in got ? got.doubtful : undefined).toBe(doubtful);
    expect(await stack.mlflow.searchTraces(id)).toEqual([]);
  });
});
