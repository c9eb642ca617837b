import { afterAll, beforeAll, expect, test } from 'vitest';
import { directDestination } from './support/destination.ts';
import { CUT, EVERYWHERE, HALF_PAIRS, LONG, ON_SQLITE, tryMended } from './support/mended.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

test('what MLflow refuses it takes once it is mended, and gives it back so', async () => {
  const { got, wanted } = await tryMended(stack, { ...EVERYWHERE, ...HALF_PAIRS, ...ON_SQLITE });
  expect(got).toEqual(wanted);
});

test('a trace has the session, the user and the times of its mended root', async () => {
  const id = await stack.mlflow.ensureExperiment(stack.experimentName());
  const { send, mlflow } = directDestination(stack, { id });
  const { traceId, spans } = makeTrace(2);
  const root = { start: 2n ** 64n - 1n, attributes: { 'session.id': LONG, 'user.id': 'somebody' } };
  const payload = toProtobuf(requestOf([spans[0]!, { ...spans[1]!, ...root }]));
  expect(await send(mlflow.repair?.(payload)?.payload ?? payload)).toMatchObject({ kind: 'delivered' });
  expect((await stack.mlflow.getTrace(traceId))?.metadata).toMatchObject({
    'mlflow.trace.session': CUT,
    'mlflow.trace.user': 'somebody',
  });
});
