import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureCollector } from '../stack/collector.ts';
import { FAILED, SENT, startTestCollector, toMlflow, toRelay, waitForCount } from './support/collector.ts';
import type { TestCollector } from './support/collector.ts';
import { expectStored } from './support/compare.ts';
import { startFront } from './support/front.ts';
import {
  accountOf,
  destinationStatus,
  expectBalanced,
  startTestRelay,
  temporaryFolder,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import { skipWithout } from './support/skip.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

/* What a Collector that sends to MLflow itself loses, and what becomes of the same spans with a relay between. */

/** 512 spans that MLflow takes, and one that it does not. */
const GOOD = 512;
const ALL = GOOD + 1;
const BATCH = { send_batch_size: ALL, timeout: '1h' };

/** Of the bad span, once MLflow can take it. */
const MENDED = {
  'session.id': 'x'.repeat(250),
  'relay.repaired': 'session.id: cut from 300 to 250 characters',
};

function makeBatch(): { good: TestTrace[]; bad: TestTrace } {
  const good = Array.from({ length: GOOD / 8 }, () => makeTrace(8));
  return { good, bad: makeTrace(1, { attributes: { 'session.id': 'x'.repeat(300) } }) };
}

/** Both halves of the good ones around the bad one; every request is answered 200. */
async function sendBatch(
  collector: TestCollector,
  { good, bad }: ReturnType<typeof makeBatch>,
): Promise<void> {
  const half = good.length / 2;
  for (const traces of [good.slice(0, half), [bad], good.slice(half)]) {
    await collector.send('traces', requestOf(traces.flatMap(({ spans }) => spans)));
  }
}

describe.skipIf(skipWithout('go'))('a Collector before and after the relay', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await useSharedStack();
    await ensureCollector();
  });
  afterAll(() => stack?.stop());

  const newExperiment = () => stack.mlflow.ensureExperiment(stack.experimentName());

  /** That sends to MLflow, or to what is in front of it. */
  async function before(experimentId: string, mlflowUrl = stack.mlflowUrl, batch?: typeof BATCH) {
    const secretFile = join(await temporaryFolder(), 'client-secret');
    await writeFile(secretFile, stack.client.secret, { mode: 0o600 });
    const { extensions = {}, exporters } = toMlflow(stack, { mlflowUrl, experimentId, secretFile });
    const pipeline = { exporter: exporters.otlp_http, ...(batch && { batch }) };
    return startTestCollector({ traces: pipeline }, { extensions });
  }

  /** That sends to the relay. */
  async function after(relayUrl: string, batch?: typeof BATCH) {
    const pipeline = { exporter: toRelay(relayUrl, stack).exporters.otlp_http, ...(batch && { batch }) };
    return startTestCollector({ traces: pipeline });
  }

  test('before: what MLflow takes is stored, with a token of the extension', async () => {
    const experiment = await newExperiment();
    const collector = await before(experiment);
    const traces = [makeTrace(3), makeTrace(1)];
    for (const { spans } of traces) await collector.send('traces', requestOf(spans));
    await waitForCount(collector, SENT, 4);
    expect(await collector.metric(FAILED)).toBe(0);
    await expectStored(stack.mlflow, experiment, traces);
  });

  test('before: one span that MLflow refuses, and 512 good ones are lost', async () => {
    const experiment = await newExperiment();
    const collector = await before(experiment, stack.mlflowUrl, BATCH);
    await sendBatch(collector, makeBatch());
    await waitForCount(collector, FAILED, ALL);
    expect(await collector.metric(SENT)).toBe(0);
    expect(await stack.mlflow.searchTraces(experiment)).toEqual([]);
    expect(await collector.log()).toContain('Dropping data');
  });

  test('after: the 512 are in MLflow; the bad one is there without what was too long, and a dead letter as it came', async () => {
    const experiment = await newExperiment();
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const collector = await after(relay.url, BATCH);
    const { good, bad } = makeBatch();
    await sendBatch(collector, { good, bad });
    await waitForCount(collector, SENT, ALL);
    expect(await collector.metric(FAILED)).toBe(0);
    await waitUntilDelivered(relay);

    const account = await accountOf(relay);
    expectBalanced(account);
    expect(account).toMatchObject({
      accepted: ALL,
      delivered: GOOD,
      deadLetters: 1,
      rejected: 0,
      waiting: 0,
    });
    expect(await destinationStatus(relay)).toMatchObject({ dead_letter_spans: 1 });
    const spans = bad.spans.map((span) => ({ ...span, attributes: MENDED }));
    await expectStored(stack.mlflow, experiment, [...good, { ...bad, spans }]);
  });

  test('before: a login page answered with 200 counts as delivered, and the spans are lost', async () => {
    const experiment = await newExperiment();
    const front = await startFront(stack.mlflowUrl, 'login');
    const collector = await before(experiment, front.url);
    await collector.send('traces', requestOf(makeTrace(3).spans));
    await waitForCount(collector, SENT, 3);
    expect(await collector.metric(FAILED)).toBe(0);
    expect(front.held()).toBe(1);
    expect(await collector.log()).not.toMatch(/error|warn/i);
    expect(await stack.mlflow.searchTraces(experiment)).toEqual([]);
  });

  test('after: the relay keeps them while there is a login page, says so, and delivers them then', async () => {
    const experiment = await newExperiment();
    const front = await startFront(stack.mlflowUrl, 'login');
    const relay = await startTestRelay(
      { ...stack, mlflowUrl: front.url },
      { experiment: { id: experiment } },
    );
    const collector = await after(relay.url);
    const trace = makeTrace(3);
    await collector.send('traces', requestOf(trace.spans));
    await waitForCount(collector, SENT, 3);
    const { reason, waiting_spans: waiting } = await waitForDestination(
      relay,
      'blocked',
      ({ state }) => state === 'blocked',
    );
    expect(reason).toContain('is it a login page?');
    expect(waiting).toBe(3);
    expect(await stack.mlflow.searchTraces(experiment)).toEqual([]);

    front.set('open');
    await waitUntilDelivered(relay);
    await expectStored(stack.mlflow, experiment, [trace]);
    expectBalanced(await accountOf(relay));
  });
});
