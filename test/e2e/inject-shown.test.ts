import { afterAll, beforeAll, expect, test } from 'vitest';
import { injectTrace } from '../../src/testing.ts';
import { SHOWN_TEXTS } from '../inject/shown-texts.ts';
import { clientFiles, startTestRelay } from './support/relay.ts';
import { injectShown } from './support/shown.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';

/* What MLflow 3.18 shows otherwise than it was sent, and what inject makes of it. */

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

test('kinds are compared, and texts that are JSON as what they say', async () => {
  const relay = await startTestRelay(stack);
  expect(await injectShown(stack, relay)).toEqual({
    code: 0,
    outcome: 'stored',
    differences: undefined,
    kinds: ['SERVER', 'INTERNAL', 'INTERNAL', 'CLIENT', 'PRODUCER', 'CONSUMER'].map(
      (kind) => `SPAN_KIND_${kind}`,
    ),
    texts: SHOWN_TEXTS,
  });
});

test('what would be a tag that MLflow sets itself is dropped by it, and no difference', async () => {
  const relay = await startTestRelay(stack);
  const key = 'mlflow.traceTag.mlflow.trace.archivalFailure';
  const { outcome, differences, trace } = await injectTrace({
    config: relay.configFile,
    endpoint: relay.url,
    ...clientFiles(stack),
    attributes: { [key]: 'none', 'user.id': 'me' },
  });
  expect({ outcome, differences }).toEqual({ outcome: 'stored', differences: [] });
  const root = trace?.spans.find(({ parentSpanId }) => parentSpanId === '');
  expect([root?.attributes['user.id'], root?.attributes[key]]).toEqual(['me', undefined]);
});
