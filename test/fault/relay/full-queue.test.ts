import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectStored } from '../../e2e/support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  isReady,
  metric,
  senderNamed,
  startTestRelay,
  waitUntilDelivered,
} from '../../e2e/support/relay.ts';
import type { Sender } from '../../e2e/support/sender.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from '../../e2e/support/traces.ts';
import type { TestTrace } from '../../e2e/support/traces.ts';
import { waitFor } from '../../stack/processes.ts';
import { openDoor } from '../support/door.ts';
import { figure } from '../support/run.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

test('one sender that fills the queue is refused, others are not; with room it is taken again', async () => {
  const door = await openDoor(stack.mlflowUrl);
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(
    { ...stack, mlflowUrl: door.url },
    {
      experiment: { id: experiment },
      more: { queue: { max_size: '2MiB' }, receiver: { max_request_body_size: '256KiB' } },
    },
  );
  const greedy = await senderNamed(stack, relay.url, 'greedy');
  const modest = await senderNamed(stack, relay.url, 'modest');
  const acknowledged: TestTrace[] = [];
  const send = async (sender: Sender, bytes: number) => {
    const trace = makeTrace(1, { attributes: { filling: 'x'.repeat(bytes) } });
    const answer = await sender.post(toProtobuf(requestOf(trace.spans)));
    if (answer.status === 200) acknowledged.push(trace);
    return answer;
  };

  await door.shut();
  let answer = await send(greedy, 50_000);
  for (let sent = 1; answer.status === 200; answer = await send(greedy, 50_000)) {
    expect(++sent).toBeLessThan(50);
  }
  expect(answer.status).toBe(503);
  expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  expect(answer.body.toString()).toContain('this sender has the fair share of it');
  expect(await metric(relay, 'refused_spans_total{reason="queue_over_share"}')).toBe(1);
  expect(await isReady(relay)).toBe(true);
  // What is left is for others, to the end of the queue.
  expect((await send(modest, 50_000)).status).toBe(200);
  expect((await send(modest, 50_000)).status).toBe(200);
  expect((await send(greedy, 10)).status).toBe(503);
  const last = await send(modest, 200_000);
  expect(last.status).toBe(503);
  expect(last.body.toString()).toContain('the queue of the relay is full');

  await door.open();
  const openedAt = performance.now();
  await waitFor('the sender was not taken again', DEADLINE_MS, async () =>
    (await send(greedy, 50_000)).status === 200 ? true : undefined,
  );
  figure('takes again once MLflow is back', `${((performance.now() - openedAt) / 1000).toFixed(1)} s`, '5 s');
  await waitUntilDelivered(relay);
  await expectStored(stack.mlflow, experiment, acknowledged);
  expectBalanced(await accountOf(relay));
});
