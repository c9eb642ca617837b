import { afterAll, beforeAll, expect, test } from 'vitest';
import { SHOWN_TEXTS } from '../inject/shown-texts.ts';
import { ensurePreviousMlflow } from '../stack/python.ts';
import { makePlans, sendPlans, storedOf } from './support/bad-spans.ts';
import { expectStored } from './support/compare.ts';
import { EVERYWHERE, ON_SQLITE, tryMended } from './support/mended.ts';
import { accountOf, expectBalanced, startTestRelay, waitUntilDelivered } from './support/relay.ts';
import { injectShown } from './support/shown.ts';
import { startOwnStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, withoutKinds } from './support/traces.ts';

/* MLflow 3.17.2, with what it does otherwise than the one of the other tests. */

let stack: Stack;
beforeAll(async () => {
  stack = await startOwnStack({ python: await ensurePreviousMlflow() });
});
afterAll(() => stack?.stop());

const newExperiment = () => stack.mlflow.ensureExperiment(stack.experimentName());

test('stores what the relay sends, without the kinds of spans', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const traces = [makeTrace(3), makeTrace(40)];
  for (const { spans } of traces) await relay.sender.send(requestOf(spans));
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ delivered: 43, rejected: 0, deadLetters: 0 });
  expectBalanced(account);
  await expectStored(stack.mlflow, experiment, traces.map(withoutKinds));
});

test('is read back by inject, which does not ask for the kinds', async () => {
  const relay = await startTestRelay(stack);
  expect(await injectShown(stack, relay)).toEqual({
    code: 0,
    outcome: 'stored',
    differences: undefined,
    kinds: Array.from({ length: 6 }, () => undefined),
    texts: SHOWN_TEXTS,
  });
});

test('stores all good spans beside bad ones, and these as far as they can be mended', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const plans = makePlans();
  await sendPlans(stack, relay, plans);
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ accepted: 512 + 8, delivered: 512, deadLetters: 8 });
  expectBalanced(account);
  await expectStored(stack.mlflow, experiment, storedOf(plans, true).map(withoutKinds));
});

test('takes what it refuses once it is mended, and gives it back so', async () => {
  const { got, wanted } = await tryMended(stack, { ...EVERYWHERE, ...ON_SQLITE }, withoutKinds);
  expect(got).toEqual(wanted);
});

test('keeps a trace in the experiment of its first spans, and answers 200 to more of it for another', async () => {
  const [first, second] = [await newExperiment(), await newExperiment()];
  const { traceId, spans } = makeTrace(2);
  for (const [experiment, span] of [
    [first, spans[0]!],
    [second, spans[1]!],
  ] as const) {
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    await relay.sender.send(requestOf([span]));
    await waitUntilDelivered(relay);
    expect(await accountOf(relay)).toMatchObject({ delivered: 1, deadLetters: 0 });
  }
  expect(await stack.mlflow.searchTraces(second)).toEqual([]);
  expect((await stack.mlflow.getTrace(traceId))?.spans).toHaveLength(2);
});
