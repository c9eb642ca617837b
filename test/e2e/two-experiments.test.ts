import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { directDestination } from './support/destination.ts';
import { runCommand } from './support/command.ts';
import {
  accountOf,
  expectBalanced,
  startTestRelay,
  temporaryFolder,
  waitUntilDelivered,
} from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { startOwnStack } from './support/stack.ts';
import type { OwnStack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

/* Traces that the real MLflow takes no more, since they are in another experiment, or archived. */

let stack: OwnStack;
let folder: string;
let tracking: string;
const cleanUps: (() => Promise<void>)[] = [];
beforeAll(async () => {
  folder = await temporaryFolder((finish) => cleanUps.push(finish));
  tracking = `sqlite:///${join(folder, 'mlflow.db')}`;
  stack = await startOwnStack({ database: { tracking, auth: `sqlite:///${join(folder, 'auth.db')}` } });
  cleanUps.push(() => stack.stop());
});
afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

const newExperiment = () => stack.mlflow.ensureExperiment(stack.experimentName());
const makeTraces = (count: number) => Array.from({ length: count }, () => makeTrace(2));
const idsOf = (traces: readonly TestTrace[]) => traces.map(({ traceId }) => traceId).toSorted();
const bodyOf = (traces: readonly TestTrace[]) => requestOf(traces.flatMap(({ spans }) => spans));
const storedIn = async (experiment: string) => (await stack.mlflow.searchTraces(experiment)).toSorted();

/** Into MLflow, past any relay. */
async function store(experiment: string, traces: readonly TestTrace[]): Promise<void> {
  const outcome = await directDestination(stack, { id: experiment }).send(toProtobuf(bodyOf(traces)));
  expect(outcome).toEqual({ kind: 'delivered', rejectedSpans: 0 });
}

type Letter = { destination: string; spans: number; status: number; reason: string };

async function deadLetters(relay: TestRelay): Promise<Letter[]> {
  const { stdout } = await runCommand('dead-letters', 'list', '--json', '--config', relay.configFile);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Letter);
}

/** Requests with traces so far. */
async function requestsOf(relay: TestRelay, destination = 'mlflow'): Promise<number> {
  const name = 'mlflow_trace_relay_upstream_request_duration_seconds_count';
  const samples = [...(await relay.metrics())].filter(
    ([key]) => key.startsWith(`${name}{`) && key.includes(`destination="${destination}"`),
  );
  return samples.reduce((sum, [, value]) => sum + value, 0);
}

/** Whether a destination was ever down, as its log tells. */
async function expectNeverDown(relay: TestRelay): Promise<void> {
  const said = (await relay.logLines()).map(({ msg }) => msg);
  expect(said.filter((msg) => msg.startsWith('the upstream does not take traces'))).toEqual([]);
}

/** With two destinations at this MLflow. */
async function startRelayOfTwo(experiments: readonly [string, string]): Promise<TestRelay> {
  const directory = await temporaryFolder();
  const [id, other] = experiments;
  const { issuer, client, mlflowUrl } = stack;
  const auth = {
    kind: 'client_credentials',
    issuer,
    client_id: client.clientId,
    client_secret_file: join(directory, 'client-secret'),
  };
  const destination = { kind: 'mlflow', url: mlflowUrl, auth };
  return startTestRelay(stack, {
    directory,
    more: {
      destinations: {
        mlflow: { ...destination, experiment: { id } },
        second: { ...destination, url: `${mlflowUrl}/`, experiment: { id: other } },
      },
    },
  });
}

describe('traces of another experiment', () => {
  test('are dead letters that say so; the others of the same requests are stored, with about one request each', async () => {
    const [theirs, mine] = [await newExperiment(), await newExperiment()];
    const taken = makeTraces(100);
    const free = makeTraces(100);
    await store(theirs, taken);
    const relay = await startTestRelay(stack, { experiment: { id: mine } });
    await relay.sender.send(bodyOf(taken.flatMap((trace, at) => [trace, free[at]!])));
    await waitUntilDelivered(relay);

    expect(await storedIn(mine)).toEqual(idsOf(free));
    expect(await storedIn(theirs)).toEqual(idsOf(taken));
    const letters = await deadLetters(relay);
    expect(letters.map(({ spans, status }) => [spans, status])).toEqual(taken.map(() => [2, 400]));
    const named = letters.map(
      ({ reason }) => /'tr-([0-9a-f]{32})' already exists in another experiment/.exec(reason)?.[1],
    );
    expect(named.toSorted()).toEqual(idsOf(taken));
    expect(letters[0]?.reason).toContain('a trace belongs to the experiment that its first span was sent to');
    expect(await requestsOf(relay)).toBeGreaterThan(100);
    expect(await requestsOf(relay)).toBeLessThanOrEqual(140);
    expectBalanced(await accountOf(relay));
    await expectNeverDown(relay);

    const later = makeTraces(5);
    await relay.sender.send(bodyOf(later));
    await waitUntilDelivered(relay);
    expect(await storedIn(mine)).toEqual(idsOf([...free, ...later]));
  });

  test('where two destinations name two experiments of one MLflow: each trace is in one, and a letter of the other', async () => {
    const experiments = [await newExperiment(), await newExperiment()] as const;
    const relay = await startRelayOfTwo(experiments);
    const traces = makeTraces(100);
    for (let from = 0; from < 100; from += 20) await relay.sender.send(bodyOf(traces.slice(from, from + 20)));
    for (const destination of ['mlflow', 'second']) {
      await expect
        .poll(async () => (await accountOf(relay, destination)).waiting, { timeout: 60_000 })
        .toBe(0);
    }
    const [first, second] = [await storedIn(experiments[0]), await storedIn(experiments[1])];
    expect([...first, ...second].toSorted()).toEqual(idsOf(traces));
    const letters = await deadLetters(relay);
    expect(letters.filter(({ destination }) => destination === 'mlflow')).toHaveLength(second.length);
    expect(letters.filter(({ destination }) => destination === 'second')).toHaveLength(first.length);
    for (const destination of ['mlflow', 'second']) expectBalanced(await accountOf(relay, destination));
    await expectNeverDown(relay);
  });

  test('are foretold by config check and doctor', async () => {
    const relay = await startRelayOfTwo([await newExperiment(), await newExperiment()]);
    const check = await runCommand('config', 'check', '--config', relay.configFile);
    expect(check).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /^warning: destinations mlflow and second get the same traces .*: from 3\.18 on /,
      ),
    });
    const { code, stdout } = await runCommand('doctor', '--config', relay.configFile);
    expect(code).toBe(0);
    for (const name of ['mlflow', 'second']) {
      expect(stdout).toMatch(
        new RegExp(
          String.raw`^warning +${name}: other destinations: destinations mlflow and second .*: MLflow is 3\.18, so that the one that comes later is refused the trace`,
          'm',
        ),
      );
    }
  });
});

/** All traces of the tests are old enough. By MLflow's own code, beside the server. @returns how many were archived */
async function archive(): Promise<number> {
  const location = join(folder, 'archive');
  await mkdir(location, { recursive: true });
  const program = [
    'import sys',
    'from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore',
    'store = SqlAlchemyStore(sys.argv[1], sys.argv[2])',
    "print(store.archive_traces(resolved_trace_archival_location=sys.argv[2], broader_retention='1d'))",
  ].join('\n');
  const { stdout } = await promisify(execFile)(
    stack.python,
    ['-c', program, tracking, `file://${location}`],
    {
      env: { ...process.env, MLFLOW_TRACKING_URI: tracking, MLFLOW_DISABLE_TELEMETRY: 'true' },
    },
  );
  return Number(stdout.trim().split('\n').at(-1));
}

test('late spans of archived traces are dead letters after one more request, and all others are stored', async () => {
  const experiment = await newExperiment();
  const archived = makeTraces(30);
  await store(experiment, archived);
  expect(await archive()).toBeGreaterThanOrEqual(30);
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const fresh = makeTraces(30);
  const late = archived.map(({ traceId }) => ({
    traceId,
    spans: makeTrace(1, { traceId, name: 'late' }).spans,
  }));
  await relay.sender.send(bodyOf(late.flatMap((trace, at) => [trace, fresh[at]!])));
  await waitUntilDelivered(relay);

  expect(await storedIn(experiment)).toEqual(idsOf([...archived, ...fresh]));
  const letters = await deadLetters(relay);
  expect(letters.reduce((sum, { spans }) => sum + spans, 0)).toBe(30);
  expect(letters[0]).toMatchObject({
    status: 500,
    reason: expect.stringMatching(
      /Cannot log spans to archived traces: 'tr-.*MLflow has archived this trace/,
    ),
  });
  expect(await requestsOf(relay)).toBe(2);
  expectBalanced(await accountOf(relay));
  await expectNeverDown(relay);
});
