import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startBrokenServer } from '../../e2e/support/broken-server.ts';
import { expectStored } from '../../e2e/support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  isReady,
  metric,
  startTestRelay,
  temporaryFolder,
  waitUntilDelivered,
} from '../../e2e/support/relay.ts';
import { skipWithout } from '../../e2e/support/skip.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from '../../e2e/support/traces.ts';
import type { TestTrace } from '../../e2e/support/traces.ts';
import { waitFor } from '../../stack/processes.ts';
import { failCalls } from '../support/failing-calls.ts';
import { howMany, progress } from '../support/run.ts';
import { layoutOf } from '../support/segment-layout.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack?.stop());

test('a damaged record is set aside, named and counted; the relay starts, and the others reach MLflow', async () => {
  const directory = await temporaryFolder();
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const options = { directory, experiment: { id: experiment } };
  const relay = await startTestRelay({ ...stack, mlflowUrl: await startBrokenServer() }, options);
  const traces = Array.from({ length: 5 }, () => makeTrace(3));
  for (const trace of traces) await relay.sender.send(requestOf(trace.spans));
  await relay.stop('SIGKILL');

  const segments = join(directory, 'queue', 'segments');
  const name = (await readdir(segments)).find((file) => file.endsWith('.segment'));
  const segment = join(segments, name!);
  const bytes = await readFile(segment);
  const { start, end } = layoutOf(bytes).records[2]!;
  bytes[end - 20]! ^= 1;
  await writeFile(segment, bytes);

  const again = await startTestRelay(stack, options);
  await waitUntilDelivered(again);
  await expectStored(
    stack.mlflow,
    experiment,
    traces.filter((_, index) => index !== 2),
  );
  const line = (await again.logLines()).find((each) => typeof each['keptIn'] === 'string');
  const keptIn = join(segments, 'damaged', `${name}-${start}-${end - start}.bytes`);
  expect(line).toMatchObject({ level: 'error', segment, offset: start, bytes: end - start, keptIn });
  expect(await readFile(keptIn)).toEqual(bytes.subarray(start, end));
  expect(await metric(again, 'queue_damaged_bytes_total')).toBe(end - start);
  expect(await accountOf(again)).toMatchObject({ delivered: 12, waiting: 0, deadLetters: 0 });
});

const ROUNDS = howMany({ short: 1, long: 5 });

/** What fails, as the kernel would tell it of a bad disk, a full one, and one that it has made read-only. */
const DISKS = [
  { what: 'syncs failed', calls: ['fdatasync'], error: 'EIO' },
  { what: 'syncs of files and folders failed', calls: ['fdatasync', 'fsync'], error: 'EIO' },
  { what: 'writes failed', calls: ['pwrite64', 'pwritev'], error: 'ENOSPC' },
  {
    what: 'all that changes the disk failed',
    calls: ['pwrite64', 'pwritev', 'fdatasync', 'fsync', 'unlink', 'rename', 'ftruncate'],
    error: 'EROFS',
  },
] as const;

test.skipIf(skipWithout('strace'))(
  'a failing disk: 503 and never a false 200; the relay goes on when the disk does',
  async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const traces: TestTrace[] = [];
    const refused: TestTrace[] = [];
    const send = async () => {
      const trace = makeTrace(3);
      const answer = await relay.sender.post(toProtobuf(requestOf(trace.spans)));
      (answer.status === 200 ? traces : refused).push(trace);
      return answer;
    };

    for (let round = 1; round <= ROUNDS; round++) {
      for (const { what, calls, error } of DISKS) {
        expect((await send()).status).toBe(200);
        const mend = await failCalls(relay.pid()!, calls, error, relay.directory);
        // Several at a time: they share a write and a sync.
        const answers = await Promise.all(Array.from({ length: 5 }, send));
        expect(
          answers.map(({ status }) => status),
          `${what}`,
        ).toEqual([503, 503, 503, 503, 503]);
        for (const { headers } of answers) expect(Number(headers['retry-after'])).toBeGreaterThan(0);
        expect(await isReady(relay)).toBe(false);
        await mend();
        await waitFor(`the relay did not take traces after ${what}`, DEADLINE_MS, async () =>
          (await isReady(relay)) ? true : undefined,
        );
        // As an exporter does: what was answered 503 is sent again, what was answered 200 is not.
        for (const trace of refused.splice(0)) {
          await relay.sender.send(requestOf(trace.spans));
          traces.push(trace);
        }
      }
      progress(`round ${round} of ${ROUNDS}: ${traces.length} traces taken`);
    }
    const lines = (await relay.logLines()).filter(({ msg }) => msg.includes('the disk'));
    for (const { error } of DISKS) {
      expect(lines.some(({ level, reason }) => level === 'error' && String(reason).startsWith(error))).toBe(
        true,
      );
    }
    const again = lines.filter(({ msg }) => msg === 'the disk takes writes of the queue again');
    expect(again).toHaveLength(ROUNDS * DISKS.length);

    await relay.stop('SIGKILL');
    await relay.start();
    await waitUntilDelivered(relay);
    await expectStored(stack.mlflow, experiment, traces);
  },
);
