import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { waitFor } from '../stack/processes.ts';
import { expectStored } from './support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  destinationStatus,
  expectBalanced,
  isReady,
  metric,
  startTestRelay,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import { streamTraces } from './support/sender.ts';
import { startOwnStack } from './support/stack.ts';
import type { OwnStack } from './support/stack.ts';

let stack: OwnStack;
beforeAll(async () => {
  stack = await startOwnStack();
});
afterAll(() => stack?.stop());

// A test that fails half-way must not take the others with it.
beforeEach(async () => {
  await stack.oidc.start();
  if (stack.server.pid() === undefined) await stack.server.start();
});

test('what was answered 200 is stored in the end, while MLflow, the issuer and the relay go away in turns', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const stream = streamTraces(relay.sender, 200);
  await stream.acknowledge(5);
  await stack.mlflow.waitForTraces(experiment, 1);

  await stack.server.stop();
  await stream.acknowledge(5);
  await waitForDestination(relay, 'retrying', ({ state }) => state === 'retrying');
  expect(await isReady(relay)).toBe(true);

  await stack.oidc.stop();
  await stream.acknowledge(5);
  expect(await isReady(relay)).toBe(true);

  await relay.stop('SIGKILL');
  await relay.start();
  const recovered = await accountOf(relay);
  expect(recovered.recovered).toBeGreaterThan(0);
  expectBalanced(recovered);
  await stream.acknowledge(5);
  const words = await waitForDestination(relay, 'retrying', ({ state }) => state === 'retrying');
  expect(words.reason).toContain(new URL(stack.issuer).host);
  expect(await isReady(relay)).toBe(true);

  await stack.oidc.start();
  await waitForDestination(relay, 'with a token', (status) => status.token_expires_at !== undefined);
  expect((await accountOf(relay)).delivered).toBe(0);
  await stack.server.start();
  await waitFor('nothing of the backlog went', DEADLINE_MS, async () =>
    (await accountOf(relay)).delivered > 0 ? true : undefined,
  );

  await relay.stop('SIGKILL');
  await relay.start();
  await stream.acknowledge(5);
  await stream.stop();
  await waitUntilDelivered(relay);
  expect(await destinationStatus(relay)).toMatchObject({ state: 'up' });
  const account = await accountOf(relay);
  expect(account).toMatchObject({ deadLetters: 0, rejected: 0, waiting: 0 });
  expectBalanced(account);
  expect(stream.acknowledged.length).toBeGreaterThanOrEqual(25);
  await expectStored(stack.mlflow, experiment, stream.acknowledged);
});

test('tokens of 5 seconds are fetched about once a lifetime, and the traces of several arrive', async () => {
  const lifetimeSeconds = 5;
  stack.oidc.setTokenLifetime(lifetimeSeconds);
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const stream = streamTraces(relay.sender, 300);
  await stream.acknowledge(1);
  const begin = await waitForDestination(
    relay,
    'with a token',
    (status) => status.token_expires_at !== undefined,
  );

  // Nothing but the relay asks for tokens here.
  const before = stack.oidc.tokenRequests();
  await waitFor('three more tokens were not asked for', DEADLINE_MS, async () =>
    stack.oidc.tokenRequests() - before >= 3 ? true : undefined,
  );
  // By the ends of the tokens, of which the third may be on its way still: one was not asked for long before the last ended.
  const { token_expires_at: end = '' } = await destinationStatus(relay);
  const lifetimes = (Date.parse(end) - Date.parse(begin.token_expires_at ?? '')) / 1000 / lifetimeSeconds;
  expect(lifetimes).toBeGreaterThan(1);
  // Each is replaced before it ends; on a machine that stood still for a moment one may end on its way.
  const unauthorized = 'upstream_request_duration_seconds_count{destination="mlflow",outcome="unauthorized"}';
  expect(await metric(relay, unauthorized)).toBeLessThanOrEqual(1);
  await stream.stop();
  await waitUntilDelivered(relay);
  await expectStored(stack.mlflow, experiment, stream.acknowledged);
  expectBalanced(await accountOf(relay));
});
