import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommand } from '../../e2e/support/command.ts';
import { expectStored } from '../../e2e/support/compare.ts';
import { ACCOUNT, createOtherOwner } from '../../e2e/support/other-owner.ts';
import { DEADLINE_MS, isReady, metric, startTestRelay, temporaryFolder } from '../../e2e/support/relay.ts';
import type { TestRelay } from '../../e2e/support/relay.ts';
import { startOwnStack, useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf } from '../../e2e/support/traces.ts';
import type { TestTrace } from '../../e2e/support/traces.ts';
import { waitFor } from '../../stack/processes.ts';
import { openDoor } from '../support/door.ts';
import type { Door } from '../support/door.ts';

/** Two MLflows: one of them gives a trace to one experiment only. */
let near: Stack;
let stack: Stack;
beforeAll(async () => {
  near = await startOwnStack();
  stack = await useSharedStack();
});
afterAll(async () => {
  await near?.stop();
  await stack?.stop();
});

type Status = {
  destinations: Record<string, { state: string; reason?: string; waiting_spans: number }>;
  unconfigured_destinations: Record<string, { waiting_spans: number; dead_letter_spans: number }>;
};

const statusOf = async (relay: TestRelay) => (await relay.status()) as Status;

/** A relay for an experiment of each, the second behind a door; started again, the second may have another name. */
async function setUp(farExperiment?: string) {
  const directory = await temporaryFolder();
  const door = await openDoor(stack.mlflowUrl);
  const experiments = {
    near: await near.mlflow.ensureExperiment(near.experimentName()),
    far: farExperiment ?? (await stack.mlflow.ensureExperiment(stack.experimentName())),
  };
  await writeFile(join(directory, FAR_SECRET), stack.client.secret, { mode: 0o600 });
  const start = (nameOfFar: string | undefined) =>
    startTestRelay(near, {
      directory,
      experiment: { id: experiments.near },
      more:
        nameOfFar === undefined
          ? {}
          : { destinations: { [nameOfFar]: farDestination(door, experiments.far) } },
    });
  return { door, experiments, start };
}

const FAR_SECRET = 'far-secret';

function farDestination(door: Door, experiment: string) {
  return {
    kind: 'mlflow',
    url: door.url,
    experiment: { id: experiment },
    auth: {
      kind: 'client_credentials',
      issuer: stack.issuer,
      client_id: stack.client.clientId,
      client_secret_file: FAR_SECRET,
    },
  };
}

async function sendTraces(relay: TestRelay, count: number): Promise<TestTrace[]> {
  const traces = Array.from({ length: count }, () => makeTrace());
  for (const trace of traces) await relay.sender.send(requestOf(trace.spans));
  return traces;
}

/** The traces that went through the door and were taken, once for each request. */
function takenBehind({ knocks }: Door): string[] {
  const taken = knocks.filter(({ status }) => status === 200);
  return taken.flatMap(({ spansByTrace }) => Array.from(spansByTrace.keys())).toSorted();
}

async function untilNothingWaits(relay: TestRelay, destination: string): Promise<void> {
  await waitFor(`spans still wait for ${destination}`, DEADLINE_MS, async () =>
    (await statusOf(relay)).destinations[destination]?.waiting_spans === 0 ? true : undefined,
  );
}

test('one that is away holds up nobody, and catches up from its own position', async () => {
  const { door, experiments, start } = await setUp();
  await door.shut();
  const relay = await start('far');
  const before = await sendTraces(relay, 5);
  await untilNothingWaits(relay, 'mlflow');
  expect(await statusOf(relay)).toMatchObject({
    destinations: { mlflow: { state: 'up' }, far: { state: 'retrying', waiting_spans: 10 } },
  });

  // Each from its own: what is delivered does not come again to the one, and waits for the other.
  await relay.stop();
  await relay.start();
  expect(await metric(relay, 'recovered_spans_total{destination="mlflow"}')).toBe(0);
  expect(await metric(relay, 'recovered_spans_total{destination="far"}')).toBe(10);
  const after = await sendTraces(relay, 5);
  await untilNothingWaits(relay, 'mlflow');
  expect((await statusOf(relay)).destinations['far']).toMatchObject({ waiting_spans: 20 });

  await door.open();
  await untilNothingWaits(relay, 'far');
  expect(await metric(relay, 'delivered_spans_total{destination="mlflow"}')).toBe(10);
  expect(await metric(relay, 'delivered_spans_total{destination="far"}')).toBe(20);
  await expectStored(near.mlflow, experiments.near, [...before, ...after]);
  await expectStored(stack.mlflow, experiments.far, [...before, ...after]);
  expect(takenBehind(door)).toEqual([...before, ...after].map(({ traceId }) => traceId).toSorted());
});

test('one whose experiment may not be written holds up nobody; it is asked without storing anything', async () => {
  const owner = createOtherOwner(stack);
  const far = await owner.mlflow.ensureExperiment(stack.experimentName());
  await owner.mlflow.grant(far, ACCOUNT, 'READ');
  const { door, experiments, start } = await setUp(far);
  const relay = await start('far');
  const traces = await sendTraces(relay, 3);
  await untilNothingWaits(relay, 'mlflow');
  const isBlocked = async () => {
    const { destinations } = await statusOf(relay);
    return destinations['far']?.state === 'blocked' ? destinations : undefined;
  };
  expect(await waitFor('far was not blocked', DEADLINE_MS, isBlocked)).toMatchObject({
    mlflow: { state: 'up', waiting_spans: 0 },
    far: {
      waiting_spans: 6,
      reason: expect.stringContaining(
        `the service account ${ACCOUNT} needs EDIT on experiment ${far}`,
      ) as string,
    },
  });
  expect(await isReady(relay)).toBe(true);
  // What met the refusal first had spans; from then on nothing is sent but questions.
  const questions = () =>
    door.knocks.filter(({ what, spansByTrace }) => what.startsWith('POST') && spansByTrace.size === 0);
  await waitFor('nothing was asked', DEADLINE_MS, async () => (questions().length > 0 ? true : undefined));
  const asked = questions()[0]!.at;
  expect(door.knocks.filter(({ at, spansByTrace }) => at > asked && spansByTrace.size > 0)).toEqual([]);

  await owner.changePermission(far, 'EDIT');
  await untilNothingWaits(relay, 'far');
  expect(await metric(relay, 'dead_letter_spans{destination="far"}')).toBe(0);
  expect(takenBehind(door)).toEqual(traces.map(({ traceId }) => traceId).toSorted());
  await expectStored(near.mlflow, experiments.near, traces);
  await expectStored(owner.mlflow, experiments.far, traces);
});

test('one that is renamed keeps its data until it is forgotten, and a new one starts at the tail', async () => {
  const { door, start } = await setUp();
  await door.shut();
  const first = await start('far');
  await sendTraces(first, 3); // wait for `far`
  await untilNothingWaits(first, 'mlflow');
  await first.stop();

  await door.open();
  const relay = await start('farther');
  await expect
    .poll(async () => (await relay.logLines()).map(({ msg }) => msg), { timeout: 30_000 })
    .toContainEqual(
      expect.stringMatching(/keeps spans of a destination that is not in the configuration: .* queue forget/),
    );
  expect((await statusOf(relay)).unconfigured_destinations).toEqual({
    far: { waiting_spans: 6, dead_letter_spans: 0 },
  });
  expect(await metric(relay, 'unconfigured_destination_spans{destination="far"}')).toBe(6);
  const fromThenOn = await sendTraces(relay, 2);
  await untilNothingWaits(relay, 'farther');
  expect(takenBehind(door)).toEqual(fromThenOn.map(({ traceId }) => traceId).toSorted());

  const forget = (name: string) => runCommand('queue', 'forget', name, '--config', relay.configFile);
  expect(await forget('farther')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('farther is one of the destinations'),
  });
  expect(await forget('fart')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('it knows far, farther, mlflow'),
  });
  expect((await statusOf(relay)).unconfigured_destinations).toEqual({
    far: { waiting_spans: 6, dead_letter_spans: 0 },
  });

  expect(await forget('far')).toMatchObject({ code: 0, stdout: expect.stringContaining('far is forgotten') });
  expect((await statusOf(relay)).unconfigured_destinations).toEqual({});
  expect(await metric(relay, 'unconfigured_destination_spans{destination="far"}')).toBe(0);
  expect(await metric(relay, 'recovered_spans_total{destination="far"}')).toBe(6);
  expect(await metric(relay, 'discarded_spans_total{destination="far"}')).toBe(6);

  // Named again it is a new one.
  await relay.stop();
  const again = await start('far');
  expect(await metric(again, 'recovered_spans_total{destination="far"}')).toBe(0);
  await sendTraces(again, 1);
  await untilNothingWaits(again, 'far');
  expect(await metric(again, 'delivered_spans_total{destination="far"}')).toBe(2);
});
