import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startBrokenServer } from '../../e2e/support/broken-server.ts';
import { expectStored } from '../../e2e/support/compare.ts';
import { accountOf, expectBalanced, startTestRelay, waitUntilDelivered } from '../../e2e/support/relay.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from '../../e2e/support/traces.ts';
import { writeLaterSegment } from '../support/later-version.ts';
import { expectNothingLost, oneWindow, startLoadedRelay } from '../support/loaded-relay.ts';
import { seeded } from '../support/random.ts';
import { figure, howMany } from '../support/run.ts';

const UPGRADES = howMany({ short: 3, long: 20 });
const seed = Number(process.env['FAULT_SEED'] ?? randomInt(2 ** 32));

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

test(`SIGTERM under load and a new process in the same directory, again and again: nothing is lost (seed ${seed})`, async () => {
  const random = seeded(seed);
  const loaded = await startLoadedRelay(stack, random);
  const { relay, load, tap } = loaded;
  const stops: number[] = [];
  const away: number[] = [];
  for (let upgrade = 0; upgrade < UPGRADES; upgrade++) {
    await load.acknowledge(1 + random.below(30));
    const stopped = performance.now();
    expect(await relay.stop('SIGTERM')).toEqual({ code: 0, signal: null });
    stops.push(tap.requests.length);
    await relay.start();
    away.push((performance.now() - stopped) / 1000);
  }
  const repeated = await expectNothingLost(stack, loaded, stops);
  expect(Math.max(...repeated.map(({ bytes }) => bytes))).toBeLessThanOrEqual(oneWindow(loaded));

  const again = repeated.reduce((sum, { spans }) => sum + spans, 0);
  figure(
    'delivered again an upgrade',
    `${Math.round(again / UPGRADES)} spans`,
    'those behind a trace that waits',
  );
  figure('from SIGTERM to ready again', `at most ${Math.max(...away).toFixed(2)} s`, 'a request and 2 s');
}, 600_000);

test('rollback: around what a later version has added to the log, all is delivered and nothing is called damaged', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const options = { experiment: { id: experiment } };
  const away = { ...stack, mlflowUrl: await startBrokenServer() };
  const relay = await startTestRelay(away, options);
  const { directory } = relay;
  const [own, ...later] = Array.from({ length: 7 }, () => makeTrace(3));
  await relay.sender.send(requestOf(own!.spans));
  await relay.stop('SIGTERM');

  const records = later.map(({ spans }) => ({ payload: toProtobuf(requestOf(spans)), spans: spans.length }));
  const queue = join(directory, 'queue');
  await writeLaterSegment(queue, records.slice(0, 3), { isSealed: true });
  // It was killed.
  await writeLaterSegment(queue, records.slice(3), { isSealed: false });

  const before = await startTestRelay(stack, { ...options, directory });
  await waitUntilDelivered(before);
  const account = await accountOf(before);
  expect(account).toMatchObject({ recovered: 21, delivered: 21, waiting: 0, deadLetters: 0 });
  expectBalanced(account);
  expect((await before.metrics()).get('mlflow_trace_relay_queue_damaged_bytes_total')).toBe(0);
  await expectStored(stack.mlflow, experiment, [own!, ...later]);
});
