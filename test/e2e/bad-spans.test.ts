import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readExportResponse } from '../../src/otlp/response.ts';
import { join as bytes, len, nest, requestOf as requestOfBytes } from '../otlp/bytes.ts';
import type { StoredSpan } from '../stack/mlflow-client.ts';
import { makePlans, sendPlans, storedOf } from './support/bad-spans.ts';
import type { Plan } from './support/bad-spans.ts';
import { runCommand } from './support/command.ts';
import { expectStored } from './support/compare.ts';
import {
  accountOf,
  expectBalanced,
  startTestRelay,
  temporaryFolder,
  waitUntilDelivered,
  withRepair,
} from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

/* Good spans of eight senders, and among those of each a bad one: it harms nobody else. */

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

type Letter = {
  id: string;
  sender: string;
  spans: number;
  status: number;
  reason: string;
  repaired?: string;
};

async function deadLetters(relay: TestRelay): Promise<Letter[]> {
  const { stdout, stderr, code } = await runCommand(
    'dead-letters',
    'list',
    '--json',
    '--config',
    relay.configFile,
  );
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Letter);
}

async function payloadOf(relay: TestRelay, id: string): Promise<Buffer> {
  const file = join(await temporaryFolder(), 'letter');
  await runCommand('dead-letters', 'show', id, '--output', file, '--config', relay.configFile);
  return await readFile(file);
}

/** One for each kind, as it came. */
async function expectLetters(relay: TestRelay, plans: readonly Plan[], isRepairing: boolean): Promise<void> {
  const letters = await deadLetters(relay);
  expect(letters).toHaveLength(plans.length);
  for (const { name, kind, identity, bad } of plans) {
    const letter = letters.find(({ sender }) => sender.includes(identity));
    const isMended = isRepairing && kind.mended !== undefined;
    // Of a batch with several bad ones MLflow names one.
    const wanted = isMended ? { repaired: kind.repaired } : { status: kind.status };
    expect({ name, ...letter }).toMatchObject({ name, spans: 1, ...wanted });
    expect(letter?.reason).toContain(isMended ? '' : kind.reason);
    expect(await payloadOf(relay, letter?.id ?? '')).toEqual(toProtobuf(requestOf([bad])));
  }
}

test('512 good spans are stored, the bad ones too where they can be mended; all bad ones are dead letters as they came', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const plans = makePlans();
  await sendPlans(stack, relay, plans);
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ accepted: 512 + 8, delivered: 512, deadLetters: 8 });
  expectBalanced(account);
  await expectLetters(relay, plans, true);
  await expectStored(stack.mlflow, experiment, storedOf(plans, true));
});

test('where nothing may be mended, 512 good spans are stored, and the bad ones are dead letters', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  await withRepair(relay, false);
  const plans = makePlans();
  await sendPlans(stack, relay, plans);
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ accepted: 512 + 8, delivered: 512, deadLetters: 8 });
  expectBalanced(account);
  await expectLetters(relay, plans, false);
  await expectStored(stack.mlflow, experiment, storedOf(plans, false));
});

test('ids that are impossible are told to the sender, and do not get as far as MLflow', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const ids: Partial<StoredSpan>[] = [
    { traceId: '' },
    { traceId: '0'.repeat(32) },
    { traceId: 'ab'.repeat(20) },
    { spanId: '' },
    { spanId: '0'.repeat(16) },
    { spanId: 'ab'.repeat(16) },
  ];
  const good: TestTrace[] = [];
  for (const id of ids) {
    const trace = makeTrace(2);
    const request = requestOf([...makeTrace(1, id).spans, ...trace.spans]);
    const { status, body } = await relay.sender.post(toProtobuf(request));
    expect({ id, status, ...readExportResponse('application/x-protobuf', body) }).toMatchObject({
      id,
      status: 200,
      rejectedSpans: 1,
      message: expect.stringMatching(/(trace|span) id/) as string,
    });
    good.push(trace);
  }
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  const spans = 2 * ids.length;
  expect(account).toMatchObject({ accepted: spans, delivered: spans, deadLetters: 0 });
  expectBalanced(account);
  await expectStored(stack.mlflow, experiment, good);
});

/** An AnyValue around another. */
const inMap = (inner: Uint8Array) => len(6, len(1, len(1, 'a'), len(2, inner)));
const inList = (inner: Uint8Array) => len(5, len(1, inner));

test('what the receiver takes is not too deep for MLflow', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const ids = bytes(len(1, randomBytes(16)), len(2, randomBytes(8)));
  const post = async (value: Uint8Array) => {
    const span = bytes(ids, len(5, 'deep'), len(9, len(1, 'deep'), len(2, value)));
    return (await relay.sender.post(requestOfBytes(span))).status;
  };
  // The value is the fifth message below the request; a list is two more, a map three.
  const atLimit = inMap(nest(46, len(1, 'x'), inList));
  expect(await post(inList(atLimit))).toBe(400);
  expect(await post(atLimit)).toBe(200);
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ accepted: 1, delivered: 1, deadLetters: 0 });
  expectBalanced(account);
  expect(await stack.mlflow.searchTraces(experiment)).toHaveLength(1);
});
