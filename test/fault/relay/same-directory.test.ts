import { readFile, readdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startBrokenServer } from '../../e2e/support/broken-server.ts';
import { runCommand } from '../../e2e/support/command.ts';
import { expectStored } from '../../e2e/support/compare.ts';
import { isReady, startTestRelay, waitUntilDelivered } from '../../e2e/support/relay.ts';
import type { TestRelay } from '../../e2e/support/relay.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf } from '../../e2e/support/traces.ts';
import type { TestTrace } from '../../e2e/support/traces.ts';
import { segmentPaths, setPositionVersion, setSegmentVersion } from '../support/later-version.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

const WHAT_TO_DO =
  'run the version that wrote it until its queue is empty (waiting_spans is 0), then start this one';

/** A relay with one trace in its queue that cannot go; and a relay for the same directory that can deliver it. */
async function relayWithBacklog(): Promise<{
  relay: TestRelay;
  queue: string;
  trace: TestTrace;
  deliver: () => Promise<void>;
}> {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const away = { ...stack, mlflowUrl: await startBrokenServer() };
  const relay = await startTestRelay(away, { experiment: { id: experiment } });
  const { directory } = relay;
  const trace = makeTrace();
  await relay.sender.send(requestOf(trace.spans));
  return {
    relay,
    queue: join(directory, 'queue'),
    trace,
    async deliver() {
      const next = await startTestRelay(stack, { directory, experiment: { id: experiment } });
      await waitUntilDelivered(next);
      await expectStored(stack.mlflow, experiment, [trace]);
    },
  };
}

/** Every file under the folder, with its content. */
async function contentOf(directory: string): Promise<Record<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith('lock.'));
  const pairs = files.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    return [path, (await readFile(path)).toString('base64')] as const;
  });
  return Object.fromEntries(await Promise.all(pairs));
}

test('a second relay on the same directory refuses to start, names the first, and disturbs nothing; after a SIGKILL it starts', async () => {
  const { relay, queue, deliver } = await relayWithBacklog();
  const other = join(relay.directory, 'other.yaml');
  // Another relay in all but the directory.
  const config = await readFile(relay.configFile, 'utf8');
  await writeFile(other, config.replaceAll(/(listen: 127\.0\.0\.1:)\d+/g, '$10'), { mode: 0o600 });
  const before = await segmentPaths(queue);

  for (let turn = 0; turn < 2; turn++) {
    const second = await runCommand('run', '--config', other);
    expect(second).toMatchObject({ code: 1, stdout: '' });
    expect(second.stderr).toMatch(
      new RegExp(
        `^error: another relay uses the queue in ${queue} \\(key queue\\.directory\\): process ${relay.pid()} on ${hostname()}, ` +
          'started \\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z; stop it, or give this one a directory of its own\ncode: QUEUE_LOCKED\n$',
      ),
    );
  }
  expect(await segmentPaths(queue)).toEqual(before);
  expect(await isReady(relay)).toBe(true);

  await relay.stop('SIGKILL');
  await deliver();
});

test.for([
  {
    what: 'segment',
    format: 'log',
    fileIn: async (queue: string) => (await segmentPaths(queue))[0] ?? '',
    setVersion: setSegmentVersion,
  },
  {
    what: 'position',
    format: 'position',
    fileIn: async (queue: string) => join(queue, 'positions', 'mlflow.position'),
    setVersion: setPositionVersion,
  },
])(
  'a $what of another format version: the relay says which and what to do, and changes nothing',
  async ({ format, fileIn, setVersion }) => {
    const { relay, queue, deliver } = await relayWithBacklog();
    await relay.stop('SIGKILL');
    const file = await fileIn(queue);
    await setVersion(file, 2);
    const before = await contentOf(queue);

    const ended = await runCommand('run', '--config', relay.configFile);
    expect(ended).toEqual({
      code: 1,
      stdout: '',
      stderr: `error: ${file} has ${format} format 2, and this relay reads format 1: ${WHAT_TO_DO}\ncode: QUEUE_FORMAT\n`,
    });
    expect(await contentOf(queue)).toEqual(before);

    await setVersion(file, 1);
    await deliver();
  },
);
