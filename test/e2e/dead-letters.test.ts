import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../stack/processes.ts';
import { runCommand } from './support/command.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  startTestRelay,
  waitUntilDelivered,
  withRepair,
} from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

/** Runs the built command beside the relay, and gives what it prints. */
async function deadLetters(relay: TestRelay, command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(
    'dead-letters',
    command,
    '--config',
    relay.configFile,
    ...args,
  );
  expect({ command, code, stderr }).toEqual({ command, code: 0, stderr: '' });
  return stdout;
}

async function listed(relay: TestRelay, ...filter: string[]): Promise<{ id: string; reason: string }[]> {
  const lines = (await deadLetters(relay, 'list', '--json', ...filter)).split('\n');
  return lines
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { id: string; reason: string });
}

test('what MLflow has refused is listed and shown, discarded, and replayed once its reason is gone', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  await withRepair(relay, false);

  // Each by itself: whatever else is refused with a bad span, these are.
  const session = makeTrace(1, { attributes: { 'session.id': 'x'.repeat(300) } });
  const half = makeTrace(1, { attributes: { 'session.id': String.raw`"\ud800"` } });
  const buried = async (words: string) => {
    // Good ones beside it show that MLflow is well.
    await relay.sender.send(requestOf(makeTrace().spans));
    return (await listed(relay, '--reason', words))[0];
  };
  await relay.sender.send(requestOf(session.spans));
  const sessionLetter = await waitFor('no letter came of it', DEADLINE_MS, () => buried('session id'));
  await relay.sender.send(requestOf(half.spans));
  const halfLetter = await waitFor('no letter came of it', DEADLINE_MS, () => buried('surrogates'));
  await waitUntilDelivered(relay);

  expect(JSON.parse(await deadLetters(relay, 'show', sessionLetter.id))).toMatchObject({
    destination: 'mlflow',
    status: 400,
    request: { resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: session.traceId }] }] }] },
  });
  expect(await deadLetters(relay, 'list')).toContain(`${halfLetter.id}  mlflow  `);
  expect(await deadLetters(relay, 'discard', '--id', halfLetter.id)).toBe(
    'discarded 1 of 1 letter (1 span)\n',
  );

  // As long as it is as it was, a replay comes to the same.
  expect(await deadLetters(relay, 'replay', '--id', sessionLetter.id)).toContain('replayed 1 of 1 letter');
  const again = await waitFor('it did not come back', DEADLINE_MS, () => buried('session id'));
  expect(again.id).not.toBe(sessionLetter.id);
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ discarded: 1, deadLetters: 1 });
  expectBalanced(account);
  expect(await stack.mlflow.getTrace(session.traceId)).toBeUndefined();

  await withRepair(relay, true);
  expectBalanced(await accountOf(relay));
  await deadLetters(relay, 'replay', '--reason', 'SESSION');
  const { spans } = await stack.mlflow.waitForTrace(session.traceId);
  expect(spans[0]?.attributes).toMatchObject({ 'session.id': 'x'.repeat(250) });
  await waitUntilDelivered(relay);
  expectBalanced(await accountOf(relay));
});
