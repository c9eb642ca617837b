import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { waitFor } from '../stack/processes.ts';
import { expectStored } from './support/compare.ts';
import { startGate } from './support/gate.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  metric,
  startTestRelay,
  waitForDestination,
} from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { streamTraces } from './support/sender.ts';
import type { Stream } from './support/sender.ts';
import { startOwnStack } from './support/stack.ts';
import type { OwnStack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

/* Tokens that MLflow does not take, for each reason that mlflow-oidc-auth has: nothing is lost, and few are asked for. */

const UNAUTHORIZED = 'upstream_request_duration_seconds_count{destination="mlflow",outcome="unauthorized"}';
const TOKENS = 'token_requests_total{destination="mlflow",result="token"}';

/** For so long mlflow-oidc-auth believes the keys that it has, and no others. */
const KEYS_BELIEVED_S = 6;

let stack: OwnStack;
beforeAll(async () => {
  stack = await startOwnStack({ environment: { OIDC_JWKS_CACHE_TTL_SECONDS: String(KEYS_BELIEVED_S) } });
});
afterAll(() => stack?.stop());
beforeEach(() => {
  stack.oidc.setTokenLifetime(300);
  stack.oidc.setClockAhead(0);
});

test('all requests that meet a 401 together go again with one new token', async () => {
  const gate = await startGate(stack.mlflowUrl);
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(
    { ...stack, mlflowUrl: gate.url },
    { experiment: { id: experiment }, more: { delivery: { max_batch_spans: 2 } } },
  );
  const traces = Array.from({ length: 12 }, () => makeTrace(2));
  const [first, ...others] = traces as [TestTrace, ...TestTrace[]];
  await relay.sender.send(requestOf(first.spans));
  await waitFor('the first trace was not delivered', DEADLINE_MS, async () =>
    gate.statuses.length === 1 ? true : undefined,
  );

  gate.close();
  for (const { spans } of others) await relay.sender.send(requestOf(spans));
  await waitFor('there were not two requests at once', DEADLINE_MS, async () =>
    gate.waiting() >= 2 ? true : undefined,
  );
  await stack.rotateSigningKey();
  const before = stack.oidc.tokenRequests();
  const together = gate.waiting();
  gate.open();
  await untilDelivered(relay);
  expect(stack.oidc.tokenRequests() - before).toBe(1);
  const refused = gate.statuses.filter((status) => status === 401).length;
  expect(refused).toBeGreaterThanOrEqual(together);
  expect(await metric(relay, UNAUTHORIZED)).toBe(refused);
  await expectAll(relay, experiment, traces);
});

test('a key that is rolled at the issuer: MLflow refuses its tokens until it asks for the keys again, and nothing is lost', async () => {
  const { relay, stream, experiment } = await startStream({ lifetime: 5, clockAhead: 0 });
  const asked = stack.oidc.keyRequests();
  await waitFor('MLflow did not ask for keys again', DEADLINE_MS, async () =>
    stack.oidc.keyRequests() > asked ? true : undefined,
  );
  // It believes what it has got for longer than the token lives that the relay has.
  stack.oidc.rollSigningKey();
  await waitFor('no token was refused', DEADLINE_MS, async () =>
    (await metric(relay, UNAUTHORIZED)) > 0 ? true : undefined,
  );
  await stream.acknowledge(3);
  await finish(relay, stream, experiment);
  expect(await metric(relay, TOKENS)).toBeLessThan(20);
});

test('tokens of an issuer whose clock is 120 s behind end early, and each costs one refusal and one new token', async () => {
  // Of which MLflow sees five seconds.
  const { relay, stream, experiment } = await startStream({ lifetime: 125, clockAhead: -120 });
  await waitFor('two tokens did not end', DEADLINE_MS, async () =>
    (await metric(relay, UNAUTHORIZED)) >= 2 ? true : undefined,
  );
  await stream.stop();
  await untilDelivered(relay);
  expect(await metric(relay, TOKENS)).toBe(1 + (await metric(relay, UNAUTHORIZED)));
  expect(await blockedFor(relay)).toEqual([]);
  await finish(relay, stream, experiment);
});

test('tokens of an issuer whose clock is ahead are used when their time has come for MLflow', async () => {
  // As 120, with less to wait.
  const ahead = 4;
  const { relay, stream, experiment } = await startStream({ lifetime: 300, clockAhead: ahead });
  expect(await metric(relay, TOKENS)).toBe(1);
  // One for the requests that met it together.
  expect(await metric(relay, UNAUTHORIZED)).toBeLessThanOrEqual(2);
  const words = (await relay.logLines()).filter(({ msg }) =>
    msg.startsWith('the clock of the upstream is behind'),
  );
  expect(words).toHaveLength(1);
  expect(words[0]?.['lagSeconds']).toBeGreaterThan(ahead - 2);
  expect(await blockedFor(relay)).toEqual([]);
  await finish(relay, stream, experiment);
});

/** A relay with traces under way, of which the first was delivered. */
async function startStream(tokens: { lifetime: number; clockAhead: number }) {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  stack.oidc.setTokenLifetime(tokens.lifetime);
  stack.oidc.setClockAhead(tokens.clockAhead);
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const stream = streamTraces(relay.sender, 200);
  await waitFor('nothing was delivered', DEADLINE_MS, async () =>
    (await accountOf(relay)).delivered > 0 ? true : undefined,
  );
  return { relay, stream, experiment };
}

/** Reasons of errors in the log: there is one where a person has to act. */
async function blockedFor(relay: TestRelay): Promise<unknown[]> {
  return (await relay.logLines()).filter(({ level }) => level === 'error').map(({ reason }) => reason);
}

/** More traces come; then all that were taken are in MLflow. */
async function finish(relay: TestRelay, stream: Stream, experiment: string): Promise<void> {
  await stream.stop();
  await untilDelivered(relay);
  await expectAll(relay, experiment, stream.acknowledged);
}

async function untilDelivered(relay: TestRelay): Promise<void> {
  await waitForDestination(
    relay,
    'done',
    ({ state, waiting_spans: waiting }) => state === 'up' && waiting === 0,
  );
}

async function expectAll(relay: TestRelay, experiment: string, traces: readonly TestTrace[]): Promise<void> {
  const account = await accountOf(relay);
  expect(account).toMatchObject({ waiting: 0, rejected: 0, deadLetters: 0 });
  expectBalanced(account);
  stack.oidc.setClockAhead(0);
  stack.oidc.setTokenLifetime(300);
  await expectStored(stack.mlflow, experiment, traces);
}
