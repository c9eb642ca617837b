import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { expectStored } from '../../e2e/support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  isReady,
  metric,
  startTestRelay,
  waitForDestination,
  waitUntilDelivered,
} from '../../e2e/support/relay.ts';
import type { TestRelay } from '../../e2e/support/relay.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from '../../e2e/support/traces.ts';
import type { TestTrace } from '../../e2e/support/traces.ts';
import { waitFor } from '../../stack/processes.ts';
import { openDoor } from '../support/door.ts';
import { figure } from '../support/run.ts';
import { mountSmallDisk, skipWithoutSmallDisks } from '../../stack/small-disk.ts';

const MIB = 1024 * 1024;

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

/** About as large as it says. */
const largeTrace = (bytes: number, more: Record<string, string> = {}) =>
  makeTrace(1, { attributes: { filling: 'x'.repeat(bytes), ...more } });

async function setUp() {
  const disk = mountSmallDisk(24 * MIB);
  onTestFinished(() => disk.remove());
  const door = await openDoor(stack.mlflowUrl);
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(
    { ...stack, mlflowUrl: door.url },
    {
      experiment: { id: experiment },
      more: {
        queue: { directory: join(disk.directory, 'queue'), max_size: '16MiB' },
        receiver: { max_request_body_size: '4MiB' },
      },
    },
  );
  const acknowledged: TestTrace[] = [];
  const send = async (trace: TestTrace) => {
    const answer = await relay.sender.post(toProtobuf(requestOf(trace.spans)));
    if (answer.status === 200) acknowledged.push(trace);
    return answer;
  };
  return { disk, door, experiment, relay, acknowledged, send };
}

/** Sends until it is refused for want of room. */
async function untilRefused(relay: TestRelay, send: (trace: TestTrace) => Promise<{ status: number }>) {
  await waitFor('the relay took all on a full disk', DEADLINE_MS, async () =>
    (await send(largeTrace(64 * 1024))).status === 503 ? true : undefined,
  );
  expect(await isReady(relay)).toBe(false);
}

describe.skipIf(skipWithoutSmallDisks())('a disk that something else has filled', () => {
  test('refuses with 503 and Retry-After, delivers what it has, and takes again by itself when there is room', async () => {
    const { disk, door, experiment, relay, acknowledged, send } = await setUp();
    await door.shut();
    for (let i = 0; i < 12; i++) expect((await send(largeTrace(256 * 1024))).status).toBe(200);
    await waitForDestination(relay, 'retrying', ({ state }) => state === 'retrying');

    disk.fill();
    await untilRefused(relay, send);
    const refused = await send(makeTrace());
    expect(refused.status).toBe(503);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(refused.body.toString()).toContain('the disk of the relay does not take writes');

    // On the full disk: positions can be saved, and segments be removed.
    await door.open();
    await waitUntilDelivered(relay);
    disk.fill();
    await untilRefused(relay, send);
    await relay.stop('SIGKILL');
    await relay.start();
    const account = await accountOf(relay);
    expectBalanced(account);

    disk.free();
    const freedAt = performance.now();
    await waitFor('the relay took nothing though there is room', DEADLINE_MS, async () =>
      (await send(makeTrace())).status === 200 ? true : undefined,
    );
    figure(
      'takes again on a disk with room',
      `${((performance.now() - freedAt) / 1000).toFixed(1)} s`,
      '5 s',
    );
    expect(await isReady(relay)).toBe(true);
    await waitUntilDelivered(relay);
    await expectStored(stack.mlflow, experiment, acknowledged);
    const messages = (await relay.logLines()).map(({ msg }) => msg);
    expect(messages).toContain('the disk takes writes of the queue again');
  });

  test('keeps room for dead letters: what MLflow refuses does not hold up what is behind it', async () => {
    const { disk, door, experiment, relay, acknowledged, send } = await setUp();
    await door.shut();
    // Python reads no number of more than 4,300 digits, and the relay does not mend it.
    const bad = largeTrace(100 * 1024, { number: '9'.repeat(5000) });
    expect((await send(bad)).status).toBe(200);
    // In a batch of its own: the good ones come when it is refused for good.
    disk.fill();
    await door.open();
    await waitForDestination(relay, 'done with the bad one', ({ waiting_spans }) => waiting_spans === 0);
    expect(await accountOf(relay)).toMatchObject({ deadLetters: 1, delivered: 0 });
    const refused = await send(makeTrace());
    expect(refused.status).toBe(503);

    disk.free();
    await waitFor('the relay took nothing though there is room', DEADLINE_MS, async () =>
      (await send(makeTrace())).status === 200 ? true : undefined,
    );
    await waitUntilDelivered(relay);
    await expectStored(
      stack.mlflow,
      experiment,
      acknowledged.filter((trace) => trace !== bad),
    );
    expectBalanced(await accountOf(relay));

    await relay.stop('SIGKILL');
    await relay.start();
    expect(await metric(relay, 'dead_letter_spans{destination="mlflow"}')).toBe(1);
  });
});
