import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../stack/processes.ts';
import type { RelayProcess } from '../stack/relay-process.ts';
import { expectStored } from './support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  clientFiles,
  expectBalanced,
  startTestRelay,
  temporaryFolder,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import { startBrokenServer } from './support/broken-server.ts';
import { beginRequest } from './support/slow-request.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

async function waitForLog(relay: RelayProcess, message: string): Promise<void> {
  await waitFor(`the relay did not log "${message}"`, DEADLINE_MS, async () =>
    (await relay.logLines()).find(({ msg }) => msg === message),
  );
}

test('SIGTERM: the request in hand is answered, exit 0; what was not delivered is after a restart', async () => {
  const directory = await temporaryFolder();
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const options = { directory, experiment: { id: experiment } };
  const away = { ...stack, mlflowUrl: await startBrokenServer() };
  const relay = await startTestRelay(away, options);
  const [early, inHand] = [makeTrace(), makeTrace()] as const;
  await relay.sender.send(requestOf(early.spans));
  await waitForDestination(relay, 'retrying', ({ state }) => state === 'retrying');
  const request = await beginRequest(relay.url, clientFiles(stack), toProtobuf(requestOf(inHand.spans)));

  const ended = relay.stop('SIGTERM');
  await waitForLog(relay, 'stopping');
  const answer = await request.finish();
  expect(answer.status).toBe(200);
  expect(answer.headers['connection']).toBe('close');
  expect(await ended).toEqual({ code: 0, signal: null });
  await waitForLog(relay, 'relay stopped');

  const again = await startTestRelay(stack, options);
  await waitUntilDelivered(again);
  const account = await accountOf(again);
  expect(account).toMatchObject({ accepted: 0, recovered: 4, delivered: 4, waiting: 0 });
  expectBalanced(account);
  await expectStored(stack.mlflow, experiment, [early, inHand]);
});

test('a request that is not in hand when SIGTERM comes is not taken', async () => {
  const relay = await startTestRelay(stack);
  const files = clientFiles(stack);
  const inHand = await beginRequest(relay.url, files, toProtobuf(requestOf(makeTrace().spans)));
  await relay.sender.send(requestOf(makeTrace().spans));
  const ended = relay.stop('SIGTERM');
  await waitForLog(relay, 'stopping');
  // On the connection that is open still, and on a new one.
  const late = toProtobuf(requestOf(makeTrace().spans));
  const answers = await Promise.all(
    [relay.sender.post(late), relay.sender.post(late)].map((answer) =>
      answer.then(
        ({ status }) => status,
        () => 'refused',
      ),
    ),
  );
  for (const answer of answers) expect([503, 'refused']).toContain(answer);
  expect((await inHand.finish()).status).toBe(200);
  expect(await ended).toEqual({ code: 0, signal: null });
});

test('a second SIGTERM ends the relay at once, and nothing that was answered 200 is lost', async () => {
  const directory = await temporaryFolder();
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const options = { directory, experiment: { id: experiment } };
  const away = { ...stack, mlflowUrl: await startBrokenServer() };
  const relay = await startTestRelay(away, options);
  const trace = makeTrace();
  await relay.sender.send(requestOf(trace.spans));
  // Nobody sends the body of this one: without the second signal it would be waited for.
  const stuck = await beginRequest(relay.url, clientFiles(stack), toProtobuf(requestOf(makeTrace().spans)));

  process.kill(relay.pid()!, 'SIGTERM');
  await waitForLog(relay, 'stopping');
  expect(await relay.stop('SIGTERM')).toEqual({ code: 1, signal: null });
  stuck.abandon();
  await waitForLog(relay, 'second signal: exiting at once');

  const again = await startTestRelay(stack, options);
  await waitUntilDelivered(again);
  await expectStored(stack.mlflow, experiment, [trace]);
});
