import { randomBytes } from 'node:crypto';
import { describe, expect, onTestFinished, test } from 'vitest';
import { figure, howMany } from '../fault/support/run.ts';
import { waitFor } from '../stack/processes.ts';
import { expectWhole } from './support/compare.ts';
import { accountOf, clientFiles, expectBalanced, metric, startTestRelay } from './support/relay.ts';
import { createSender, streamTraces } from './support/sender.ts';
import { skipWithout } from './support/skip.ts';
import { startOwnStack } from './support/stack.ts';
import type { OwnStack } from './support/stack.ts';
import { startStackOnPostgres } from './support/stack-on-postgres.ts';
import { makeTrace, requestOf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

/** Requests of the large trace; MLflow reads for each all that it has of it. */
const REQUESTS = howMany({ short: 12, long: 60 });
const SPANS_EACH = 500;
const LIMIT_MS = 600_000;

/** A root and its children, each with ten tokens. */
function makeLarge(): TestTrace {
  const [root] = makeTrace(1).spans;
  const children = Array.from({ length: REQUESTS * SPANS_EACH - 1 }, () => ({
    ...root!,
    spanId: randomBytes(8).toString('hex'),
    parentSpanId: root!.spanId,
    name: 'chat',
    attributes: { 'gen_ai.usage.input_tokens': 7, 'gen_ai.usage.output_tokens': 3 },
  }));
  return { traceId: root!.traceId, spans: [...children, root!] };
}

describe.each([
  ['on SQLite', false],
  ['on PostgreSQL', true],
])('beside a large trace with token counts, %s', (_name, isOnPostgres) => {
  test.skipIf(isOnPostgres && skipWithout('postgres'))(
    'others go on, and it arrives whole',
    { timeout: LIMIT_MS },
    async () => {
      const stack = await start(isOnPostgres);
      const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
      const relay = await startTestRelay(stack, { experiment: { id: experiment } });
      const sender = await createSender(relay.url, clientFiles(stack));
      onTestFinished(() => sender.close());
      const large = makeLarge();
      const stream = streamTraces(relay.sender, 200);
      await stream.acknowledge(5);
      const begun = Date.now();
      for (let at = 0; at < large.spans.length; at += SPANS_EACH) {
        await sender.send(requestOf(large.spans.slice(at, at + SPANS_EACH)));
      }
      // One that comes behind all of it is there while it is not.
      const behind = makeTrace(3);
      await relay.sender.send(requestOf(behind.spans));
      await stack.mlflow.waitForTrace(behind.traceId, { spans: 3, deadlineMs: LIMIT_MS });
      const waited = Date.now() - begun;
      await waitFor('the large trace was not stored', LIMIT_MS, async () =>
        (await accountOf(relay)).delivered >= large.spans.length + 3 ? true : undefined,
      );
      await stream.stop();
      await waitFor('there was more', LIMIT_MS, async () =>
        (await accountOf(relay)).waiting === 0 ? true : undefined,
      );
      figure('a trace behind the large one, s', (waited / 1000).toFixed(1), 'a few');
      figure('the large trace, s', ((Date.now() - begun) / 1000).toFixed(1), 'none');
      const account = await accountOf(relay);
      expect(account).toMatchObject({ rejected: 0, deadLetters: 0, delivered: account.accepted });
      expectBalanced(account);
      await expectWhole(stack.mlflow, [...stream.acknowledged, behind]);
      const stored = await stack.mlflow.getTrace(large.traceId);
      expect(stored?.spans).toHaveLength(large.spans.length);
      expect(JSON.parse(stored?.metadata['mlflow.trace.tokenUsage'] ?? '{}')).toMatchObject({
        input_tokens: 7 * (large.spans.length - 1),
        output_tokens: 3 * (large.spans.length - 1),
      });
      // Its slow requests have made none smaller for the others.
      expect(await metric(relay, 'upstream_batch_spans_limit{destination="mlflow"}')).toBe(1000);
    },
  );
});

async function start(isOnPostgres: boolean): Promise<OwnStack> {
  if (isOnPostgres) return (await startStackOnPostgres((finish) => onTestFinished(finish))).stack;
  const stack = await startOwnStack();
  onTestFinished(() => stack.stop());
  return stack;
}
