import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../stack/processes.ts';
import { expectStored } from './support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  metric,
  senderNamed,
  startTestRelay,
  waitUntilDelivered,
} from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { tapInto } from './support/tap.ts';
import { makeTrace, requestOf, toRequest } from './support/traces.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

test('traces whose spans come from several senders, mixed and with the root last, arrive whole and once', async () => {
  const tap = await tapInto(stack.mlflowUrl);
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(
    { ...stack, mlflowUrl: tap.url },
    {
      experiment: { id: experiment },
      // Longer than the test: only roots make traces ready.
      more: { delivery: { trace_wait: '5m', max_batch_spans: 20 } },
    },
  );
  const names = ['gateway', 'agent', 'tool'];
  const senders = await Promise.all(names.map((name) => senderNamed(stack, relay.url, name)));
  const traces = Array.from({ length: 12 }, () => makeTrace(6));

  /** Each sender sends one span of every trace. */
  async function sendRound(firstSpan: number): Promise<void> {
    for (const [index, sender] of senders.entries()) {
      const spans = traces.map((trace) => trace.spans[firstSpan + index]!);
      const [first, second] = [spans.filter((_, i) => i % 2 === 0), spans.filter((_, i) => i % 2 === 1)];
      await sender.send(
        toRequest(
          { resource: { 'service.name': names[index]!, part: 1 }, spans: first },
          { resource: { 'service.name': names[index]!, part: 2 }, spans: second },
        ),
      );
    }
  }
  // The deepest spans first, the roots in the last request of all.
  await sendRound(0);
  await sendRound(3);
  await waitUntilDelivered(relay);

  // 20 spans are three traces, so twelve traces are at least four requests.
  expect(tap.requests.length).toBeGreaterThanOrEqual(4);
  expect(tap.requests.map(({ status }) => status)).toEqual(tap.requests.map(() => 200));
  const spansOf = tap.requests.flatMap(({ spansByTrace }) => [...spansByTrace]);
  expect(spansOf.toSorted()).toEqual(traces.map(({ traceId }) => [traceId, 6]).toSorted());
  expect(tap.overlapping).toEqual(new Set());
  await expectStored(stack.mlflow, experiment, traces);
  expectBalanced(await accountOf(relay));
});

test('a trace whose root never comes is sent when its time is up; late spans follow it', async () => {
  const relay = await startTestRelay(stack, { more: { delivery: { trace_wait: '500ms' } } });
  const trace = makeTrace(3);
  const [leaf, middle, root] = trace.spans as [never, never, never];
  await relay.sender.send(requestOf([leaf]));
  await waitUntilDelivered(relay);
  expect(await stack.mlflow.getTrace(trace.traceId)).toMatchObject({
    state: 'IN_PROGRESS',
    spans: { length: 1 },
  });
  await relay.sender.send(requestOf([middle, root]));
  const stored = await stack.mlflow.waitForTrace(trace.traceId, { spans: 3 });
  await expectStored(stack.mlflow, stored.experimentId, [trace]);
});

test('the account of spans holds while of one request a part is delivered and the rest waits', async () => {
  const relay = await startTestRelay(stack, { more: { delivery: { trace_wait: '5m' } } });
  const [whole, partial] = [makeTrace(2), makeTrace(3)];
  await relay.sender.send(requestOf([...whole.spans, ...partial.spans.slice(0, 2)]));
  await stack.mlflow.waitForTrace(whole.traceId, { spans: 2 });
  await waitFor('the whole trace was not counted as delivered', DEADLINE_MS, async () =>
    (await accountOf(relay)).delivered === 2 ? true : undefined,
  );
  const between = await accountOf(relay);
  expect(between).toMatchObject({ accepted: 4, delivered: 2, waiting: 2 });
  expectBalanced(between);
  await relay.sender.send(requestOf(partial.spans.slice(2)));
  await waitUntilDelivered(relay);
  const end = await accountOf(relay);
  expect(end).toMatchObject({ accepted: 5, delivered: 5, waiting: 0 });
  expectBalanced(end);
});

test('spans that MLflow refuses for good end as dead letters, and the relay goes on, after a restart too', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const [first, second, third] = [makeTrace(), makeTrace(), makeTrace()] as const;
  // Python reads no number of more than 4,300 digits, and the relay does not mend it.
  const refused = makeTrace(2, { attributes: { text: '9'.repeat(5000) } });
  await relay.sender.send(requestOf([first, refused, second].flatMap(({ spans }) => spans)));
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toEqual({
    accepted: 6,
    recovered: 0,
    delivered: 4,
    rejected: 0,
    superseded: 0,
    discarded: 0,
    waiting: 0,
    deadLetters: 2,
  });
  expectBalanced(account);
  expect(await metric(relay, 'upstream_state{destination="mlflow",state="up"}')).toBe(1);
  const letter = (await relay.logLines()).find(({ msg }) => msg.includes('dead letters'));
  expect(letter).toMatchObject({
    level: 'warn',
    reason: expect.stringContaining('Cannot convert OpenTelemetry span') as string,
  });

  expect(await relay.stop()).toEqual({ code: 0, signal: null });
  await relay.start();
  await relay.sender.send(requestOf(third.spans));
  await waitUntilDelivered(relay);
  const afterwards = await accountOf(relay);
  expect(afterwards).toEqual({
    accepted: 2,
    recovered: 2,
    delivered: 2,
    rejected: 0,
    superseded: 0,
    discarded: 0,
    waiting: 0,
    deadLetters: 2,
  });
  expectBalanced(afterwards);
  await expectStored(stack.mlflow, experiment, [first, second, third]);
});
