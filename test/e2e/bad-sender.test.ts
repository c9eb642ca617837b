import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectStored } from './support/compare.ts';
import { accountOf, expectBalanced, senderNamed, startTestRelay, withRepair } from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

/** MLflow refuses for good what has so long a session id. */
const badTrace = () => makeTrace(1, { attributes: { 'session.id': JSON.stringify('s'.repeat(300)) } });

test('traces of a good sender are stored while a flood of bad ones of another is looked through', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  await withRepair(relay, false);
  const good = await senderNamed(stack, relay.url, 'good');
  const bad = await senderNamed(stack, relay.url, 'bad');

  const traces: TestTrace[] = [];
  let refusedBad = 0;
  // 10 s of 5 good traces and 200 bad ones a second.
  for (let round = 0; round < 50; round++) {
    const trace = makeTrace(2);
    traces.push(trace);
    await good.send(requestOf(trace.spans));
    for (let request = 0; request < 4; request++) {
      const spans = Array.from({ length: 10 }, () => badTrace().spans).flat();
      const { status } = await bad.post(toProtobuf(requestOf(spans)));
      if (status !== 200) refusedBad += spans.length;
    }
    await pause(100);
  }
  await stack.mlflow.waitForTraces(experiment, traces.length);
  const account = await accountOf(relay);
  // The bad ones take their time, or are refused at the door.
  expect(account.waiting + refusedBad).toBeGreaterThan(0);
  expect(account).toMatchObject({ delivered: 2 * traces.length, rejected: 0 });
  expectBalanced(account);
  await expectStored(stack.mlflow, experiment, traces);
  expect(account.deadLetters).toBeGreaterThan(0);
});
