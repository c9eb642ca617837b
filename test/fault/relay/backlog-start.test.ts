import { mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { accountOf, waitUntilDelivered } from '../../e2e/support/relay.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { cpuOf } from '../../bench/cpu.ts';
import { CACHE } from '../../stack/install.ts';
import { freePort } from '../../stack/processes.ts';
import { startRelayProcess } from '../../stack/relay-process.ts';
import type { RelayOptions, RelayProcess } from '../../stack/relay-process.ts';
import { bytesOf, makeBacklog, settleFirst } from '../support/backlog.ts';
import type { BacklogOrder } from '../support/backlog.ts';
import { figure, howMany, isLong, progress } from '../support/run.ts';

/*
 * A relay that was killed with much in its queue is ready again at once: what waits is counted by the footers of the
 * segments, and only the one that was being written is read. Its upstream need not be there.
 */

const GOAL = '2 s';
const GIB = 2 ** 30;
const MAX_SIZE = 16 * GIB;
const SPANS_PER_TRACE = 10;

type Backlog = Pick<BacklogOrder, 'records' | 'spansPerRecord' | 'sizes'> & {
  what: string;
  /** Records in front that were delivered before. */
  settled?: number;
};

const MANY = howMany({ short: 2000, long: 100_000 });
const BACKLOGS: readonly Backlog[] = [
  { what: `${MANY.toLocaleString('en')} records`, records: MANY, spansPerRecord: SPANS_PER_TRACE },
];
const LONG_BACKLOGS: readonly Backlog[] = [
  // What a start takes anyway.
  { what: 'nothing', records: 0, spansPerRecord: SPANS_PER_TRACE },
  { what: '8 GiB', records: 22_000, spansPerRecord: 510 },
  // Where the most has to be read: two full segments, the reader in the first, the second one not closed.
  { what: '250,000 of the smallest records', records: 250_000, spansPerRecord: 1, sizes: 'tiny', settled: 1 },
];

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});

test.for([...BACKLOGS, ...(isLong ? LONG_BACKLOGS : [])])(
  'a start after a kill, with its upstream away and $what in its queue, counts them to the last span',
  { timeout: 900_000 },
  async ({ what, settled = 0, ...backlog }, { skip }) => {
    const directory = await realDirectory();
    const { bavail, bsize } = await statfs(directory);
    if (isLong && bavail * bsize < MAX_SIZE) skip('it takes 16 GiB of free disk');
    const queue = join(directory, 'queue');
    await makeBacklog({ ...backlog, directory: queue, maxBytes: MAX_SIZE });
    if (settled > 0) await settleFirst(queue, settled);
    progress(`${what}, of ${((await bytesOf(queue)) / GIB).toFixed(2)} GiB`);

    const waiting = (backlog.records - settled) * backlog.spansPerRecord;
    const expected = { recovered: waiting, delivered: 0, waiting, deadLetters: 0 };
    const nobody = `http://127.0.0.1:${await freePort()}`;
    const began = performance.now();
    const relay = await startRelay(directory, { mlflowUrl: nobody, experiment: { id: '1' } });
    const first = timeOf(relay, began);
    expect(await accountOf(relay)).toMatchObject(expected);

    // What the first start has closed need not be read again.
    await relay.stop('SIGKILL');
    const beganAgain = performance.now();
    await relay.start();
    const second = timeOf(relay, beganAgain);
    expect(await accountOf(relay)).toMatchObject(expected);
    figure(`ready with ${what}`, `${first}, and after another kill ${second}`, GOAL);
  },
);

test('what a killed relay left is delivered, nothing lost and nothing twice', async () => {
  const traces = 30;
  const spans = traces * SPANS_PER_TRACE;
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const directory = await realDirectory();
  const queue = join(directory, 'queue');
  await makeBacklog({
    directory: queue,
    maxBytes: MAX_SIZE,
    records: traces,
    spansPerRecord: SPANS_PER_TRACE,
  });
  const relay = await startRelay(directory, { mlflowUrl: stack.mlflowUrl, experiment: { id: experiment } });
  const ids = await stack.mlflow.waitForTraces(experiment, traces);
  await waitUntilDelivered(relay);
  expect(await accountOf(relay)).toMatchObject({ recovered: spans, delivered: spans, deadLetters: 0 });
  expect(new Set(ids).size).toBe(traces);
  for (const id of ids) expect((await stack.mlflow.getTrace(id))?.spans).toHaveLength(SPANS_PER_TRACE);
});

/** Since then, and its CPU time, as other programs may have made it wait. */
function timeOf(relay: RelayProcess, began: number): string {
  const seconds = (performance.now() - began) / 1000;
  return `${seconds.toFixed(1)} s (${cpuOf(relay).toFixed(1)} s of CPU)`;
}

/** Gone after the test. Not in the folder for temporary files, which may be memory. */
async function realDirectory(): Promise<string> {
  await mkdir(CACHE, { recursive: true });
  const directory = await mkdtemp(join(CACHE, 'backlog-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Stopped after the test, before its folder goes. */
async function startRelay(
  directory: string,
  options: Pick<RelayOptions, 'mlflowUrl' | 'experiment'>,
): Promise<RelayProcess> {
  const { issuer, client, certificates } = stack;
  const relay = await startRelayProcess({
    directory,
    issuer,
    client,
    certificates,
    more: { queue: { directory: join(directory, 'queue'), max_size: `${MAX_SIZE / GIB}GiB` } },
    ...options,
  });
  onTestFinished(async () => {
    await relay.stop();
  });
  return relay;
}
