import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { decodeLedger } from '../../../src/queue/ledger-format.ts';
import { runCommand } from '../../e2e/support/command.ts';
import { expectStored } from '../../e2e/support/compare.ts';
import {
  accountOf,
  DEADLINE_MS,
  expectBalanced,
  startTestRelay,
  waitUntilDelivered,
  withRepair,
} from '../../e2e/support/relay.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf } from '../../e2e/support/traces.ts';
import { waitFor } from '../../stack/processes.ts';
import { startCountingTap } from '../support/counting-tap.ts';
import { spanKey } from '../support/kept.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

/** Spans that the ledger on disk tells of. */
async function spansInLedger(directory: string): Promise<number> {
  const path = join(directory, 'queue', 'positions', 'mlflow.ledger');
  const bytes = await readFile(path).catch(() => Buffer.alloc(0));
  const { ranges = [], records = [] } = decodeLedger(bytes) ?? {};
  return (
    records.reduce((sum, { spans }) => sum + spans.size, 0) +
    ranges.reduce((sum, { spans }) => sum + spans, 0)
  );
}

test('kill -9 beside a trace that is open: the bad span is refused and lettered once, nothing is sent twice, and what was discarded does not come back', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const tap = await startCountingTap(stack.mlflowUrl);
  onTestFinished(() => tap.close());
  const relay = await startTestRelay(
    { ...stack, mlflowUrl: tap.url },
    { experiment: { id: experiment }, more: { delivery: { trace_wait: '10m' } } },
  );
  await withRepair(relay, false);

  const [open, good] = [makeTrace(3), makeTrace(2)];
  const bad = makeTrace(1, { attributes: { 'session.id': 'x'.repeat(300) } });
  const root = open.spans.at(-1)!;
  await relay.sender.send(requestOf([...open.spans.slice(0, -1), ...good.spans, ...bad.spans]));
  await waitFor('the ledger did not tell what has left', DEADLINE_MS, async () =>
    (await spansInLedger(relay.directory)) === 3 ? true : undefined,
  );
  expect(await accountOf(relay)).toMatchObject({ delivered: 2, waiting: 2, deadLetters: 1 });
  await relay.stop('SIGKILL');
  const before = tap.requests.length;
  expect(tap.requests.findLast(({ status }) => status === 400)?.spans).toEqual(bad.spans.map(spanKey));

  await relay.start();
  const found = await accountOf(relay);
  expect(found).toMatchObject({ recovered: 3, waiting: 2, deadLetters: 1 });
  expectBalanced(found);
  const discarded = await runCommand('dead-letters', 'discard', '--all', '--config', relay.configFile);
  expect(discarded).toMatchObject({ code: 0, stdout: 'discarded 1 of 1 letter (1 span)\n' });
  await relay.stop('SIGKILL');

  await relay.start();
  expect(await accountOf(relay)).toMatchObject({ recovered: 2, waiting: 2, deadLetters: 0 });
  await relay.sender.send(requestOf([root]));
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ accepted: 1, recovered: 2, delivered: 3, waiting: 0, deadLetters: 0 });
  expectBalanced(account);
  const sent = tap.requests.slice(before).flatMap(({ spans }) => spans);
  expect(sent.toSorted()).toEqual(open.spans.map(spanKey).toSorted());
  await expectStored(stack.mlflow, experiment, [open, good]);
});
