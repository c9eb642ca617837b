import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LISTS, SHOWN_TEXTS } from '../inject/shown-texts.ts';
import { ensureOldestPython } from '../stack/mlflow-oldest.ts';
import { expectStored } from './support/compare.ts';
import { accountOf, expectBalanced, startTestRelay, waitUntilDelivered } from './support/relay.ts';
import { injectShown } from './support/shown.ts';
import { startOwnStack, useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf, withoutKinds } from './support/traces.ts';

/* Both ends of the range of mlflow-oidc-auth that needs no patch; nothing is changed in either. */

/** An experiment that MLflow makes for itself. */
const DEFAULT = '0';

describe('the oldest, mlflow-oidc-auth 7.0.0 with MLflow 3.10.0', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await startOwnStack({ python: await ensureOldestPython() });
  });
  afterAll(() => stack?.stop());

  test('stores what the relay sends with a bearer token, and nothing without one', async () => {
    // It lets everybody with a token write to what nobody was given: DEFAULT_MLFLOW_PERMISSION is MANAGE.
    const relay = await startTestRelay(stack, { experiment: { id: DEFAULT } });
    const traces = [makeTrace(3), makeTrace(40)];
    for (const { spans } of traces) await relay.sender.send(requestOf(spans));
    await waitUntilDelivered(relay);
    const account = await accountOf(relay);
    expect(account).toMatchObject({ delivered: 43, rejected: 0, deadLetters: 0 });
    expectBalanced(account);

    const answer = await postWithoutToken(stack, DEFAULT);
    expect([answer.status, answer.headers.get('location')]).toEqual([302, '/login']);
    await expectStored(stack.mlflow, DEFAULT, traces.map(withoutKinds));
  });

  test('is read back by inject, which asks for no kinds, and tells that links are lost', async () => {
    const relay = await startTestRelay(stack, { experiment: { id: DEFAULT } });
    const lists = new Map(LISTS);
    expect(await injectShown(stack, relay)).toEqual({
      code: 5,
      outcome: 'differs',
      differences: Array.from({ length: 6 }, () => expect.objectContaining({ what: 'links' }) as object),
      kinds: Array.from({ length: 6 }, () => undefined),
      texts: SHOWN_TEXTS.map(([text, shown]) => [text, lists.has(text) ? text : shown]),
    });
  });

  test('takes an experiment by name at the second try, as it gives the new one to an account that it does not know', async () => {
    const name = stack.experimentName();
    const relay = await startTestRelay(stack, { experiment: { name } });
    const trace = makeTrace(3);
    await relay.sender.send(requestOf(trace.spans));
    await waitUntilDelivered(relay);
    const troubles = (await relay.logLines()).filter(({ level }) => level === 'error');
    expect(troubles.map(({ reason }) => reason)).toEqual([
      expect.stringContaining('/create answers 404 (RESOURCE_DOES_NOT_EXIST: User with username='),
    ]);
    await expectStored(stack.mlflow, (await stack.mlflow.findExperiment(name)) ?? 'none', [
      withoutKinds(trace),
    ]);
  });
});

describe('the newest, of the shared stack', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await useSharedStack();
  });
  afterAll(() => stack?.stop());

  test('stores what the relay sends with a bearer token, and nothing without one', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const traces = [makeTrace(3), makeTrace(40)];
    for (const { spans } of traces) await relay.sender.send(requestOf(spans));
    await waitUntilDelivered(relay);
    expect((await postWithoutToken(stack, experiment)).status).toBe(401);
    await expectStored(stack.mlflow, experiment, traces);
  });
});

function postWithoutToken({ mlflowUrl }: Stack, experimentId: string): Promise<Response> {
  return fetch(`${mlflowUrl}/v1/traces`, {
    method: 'POST',
    redirect: 'manual',
    headers: { 'content-type': 'application/x-protobuf', 'x-mlflow-experiment-id': experimentId },
    body: toProtobuf(requestOf(makeTrace().spans)),
  });
}
