import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Check } from '../../src/doctor/checkup.ts';
import { examine } from '../../src/doctor/doctor.ts';
import { SHOWN_TEXTS } from '../inject/shown-texts.ts';
import { ensureOldestPython, ensureUnsignedPlugin } from '../stack/mlflow-oldest.ts';
import { expectStored } from './support/compare.ts';
import { accountOf, expectBalanced, startTestRelay, waitUntilDelivered } from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { injectShown } from './support/shown.ts';
import { startOwnStack, useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf, withoutKinds } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

/* Both ends of the range of mlflow-oidc-auth that the README asks for, and what is before it; nothing is changed in any. */

type Version = {
  readonly name: string;
  readonly start: () => Promise<Stack>;
  /** What it shows of a trace. */
  readonly shown: (trace: TestTrace) => TestTrace;
};
const VERSIONS: Version[] = [
  {
    name: 'the oldest, mlflow-oidc-auth 7.12.2 with MLflow 3.14.0',
    start: async () => startOwnStack({ python: await ensureOldestPython() }),
    shown: withoutKinds,
  },
  { name: 'the newest, of the shared stack', start: useSharedStack, shown: (trace) => trace },
];

describe.each(VERSIONS)('$name', ({ start, shown }) => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await start();
  });
  afterAll(() => stack?.stop());

  test('stores what the relay sends with a bearer token, and nothing without one or its signature', async () => {
    const { relay, experiment, traces } = await deliver(stack);
    expect(await post(stack, experiment, undefined)).toBe(401);
    expect(await post(stack, experiment, withoutSignature(await stack.token()))).toBe(401);
    expect(await unsignedTokenOf(relay)).toMatchObject({ state: 'ok', words: 'is refused (401)' });
    await expectStored(stack.mlflow, experiment, traces.map(shown));
  });

  test('is read back by inject, which asks for kinds where it gives them back', async () => {
    const relay = await startTestRelay(stack, { experiment: { name: stack.experimentName() } });
    const { kinds, ...result } = await injectShown(stack, relay);
    expect(result).toMatchObject({ code: 0, outcome: 'stored', texts: SHOWN_TEXTS });
    expect(kinds.every((kind) => (kind === undefined) === (shown === withoutKinds))).toBe(true);
  });
});

describe('the last before them, mlflow-oidc-auth 7.12.1', () => {
  let stack: Stack;
  beforeAll(async () => {
    const python = await ensureOldestPython();
    stack = await startOwnStack({
      python,
      environment: { PYTHONPATH: await ensureUnsignedPlugin(python) },
    });
  });
  afterAll(() => stack?.stop());

  test('takes a token that anybody can write, and doctor warns of it', async () => {
    const { relay, experiment } = await deliver(stack);
    expect(await post(stack, experiment, undefined)).toBe(401);
    expect(await post(stack, experiment, withoutSignature(await stack.token()))).toBe(200);
    expect(await unsignedTokenOf(relay)).toMatchObject({
      state: 'warning',
      words: expect.stringContaining('MLflow takes a token without a signature') as string,
      fix: expect.stringContaining('upgrade mlflow-oidc-auth to 7.12.2 or newer') as string,
    });
  });
});

/** Two traces, into an experiment that the relay makes. */
async function deliver(stack: Stack) {
  const name = stack.experimentName();
  const relay = await startTestRelay(stack, { experiment: { name } });
  const traces = [makeTrace(3), makeTrace(40)];
  for (const { spans } of traces) await relay.sender.send(requestOf(spans));
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ delivered: 43, rejected: 0, deadLetters: 0 });
  expectBalanced(account);
  return { relay, traces, experiment: (await stack.mlflow.findExperiment(name)) ?? 'none' };
}

async function unsignedTokenOf({ configFile }: TestRelay): Promise<Check | undefined> {
  const { checks } = await examine(configFile, {}, (destinations) => destinations);
  return checks.find(({ name }) => name === 'unsigned token');
}

/** An unsecured JWT (RFC 7519 section 6) of the same claims. */
function withoutSignature(token: string): string {
  const header = Buffer.from('{"alg":"none"}').toString('base64url');
  return `${header}.${token.split('.')[1]}.`;
}

/** Spans of another trace. @returns the status */
async function post({ mlflowUrl }: Stack, experimentId: string, token: string | undefined): Promise<number> {
  const response = await fetch(`${mlflowUrl}/v1/traces`, {
    method: 'POST',
    redirect: 'manual',
    headers: {
      'content-type': 'application/x-protobuf',
      'x-mlflow-experiment-id': experimentId,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    body: toProtobuf(requestOf(makeTrace().spans)),
  });
  return response.status;
}
