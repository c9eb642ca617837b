import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StoredSpan, StoredTrace } from '../stack/mlflow-client.ts';
import { sendFromPython } from './support/python-sender.ts';
import { clientFiles, startTestRelay } from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { asStored, inOrder, withTraceId } from './support/traces.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

/** What MLflow 3.18 makes of two of the attributes, with or without the relay. */
const MLFLOW_SHOWS = { 'text.json': { looks: 'like JSON' }, bytes: String.raw`b'\x00\xff bytes'` };

async function sendThroughRelay(
  seed: string,
  more: Record<string, string> = {},
): Promise<[StoredSpan[], StoredTrace]> {
  const relay = await startTestRelay(stack);
  const { caFile, certFile, keyFile } = clientFiles(stack);
  const spans = await sendFromPython(stack.python, seed, {
    ENDPOINT: relay.url,
    CERTIFICATE: caFile,
    CLIENT_CERTIFICATE: certFile,
    CLIENT_KEY: keyFile,
    ...more,
  });
  return [spans, await readBack(spans)];
}

async function sendDirectly(seed: string): Promise<[StoredSpan[], StoredTrace]> {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const spans = await sendFromPython(stack.python, seed, {
    TRACES_ENDPOINT: `${stack.mlflowUrl}/v1/traces`,
    HEADERS: `authorization=Bearer%20${await stack.token()},x-mlflow-experiment-id=${experiment}`,
  });
  return [spans, await readBack(spans)];
}

function readBack(spans: readonly StoredSpan[]): Promise<StoredTrace> {
  return stack.mlflow.waitForTrace(spans[0]!.traceId, { spans: spans.length });
}

/** Everything but where it was stored. */
function contentOf({ state, tags, spans }: StoredTrace) {
  const { 'mlflow.artifactLocation': _, ...rest } = tags;
  return { state, tags: rest, spans: inOrder(spans) };
}

function asShown(span: StoredSpan): StoredSpan {
  const changed = Object.entries(MLFLOW_SHOWS).filter(([key]) => key in span.attributes);
  return { ...span, attributes: { ...span.attributes, ...Object.fromEntries(changed) } };
}

test('all that the Python SDK puts into spans arrives through the relay as it does without', async () => {
  const [sent, relayed] = await sendThroughRelay('relayed');
  const [, direct] = await sendDirectly('direct');

  expect(inOrder(relayed.spans)).toEqual(asStored(sent.map(asShown)));
  expect(contentOf(relayed)).toEqual(contentOf(withTraceId(direct, relayed.traceId)));

  // Guards against a script that sends less than this test is about.
  expect(relayed.state).toBe('OK');
  expect(relayed.tags).toMatchObject({
    'service.name': 'python-sender',
    'deployment.environment.name': 'test',
  });
  expect(new Set(sent.map(({ status }) => status.code)).size).toBe(3);
  expect(sent.flatMap(({ events }) => events)).toHaveLength(3);
  expect(sent.flatMap(({ links }) => links)).toHaveLength(2);
  expect(sent.map(({ parentSpanId }) => parentSpanId)).toContain('');
});

test('the SDK may compress', async () => {
  const [sent, stored] = await sendThroughRelay('gzip', { COMPRESSION: 'gzip' });
  expect(inOrder(stored.spans)).toEqual(asStored(sent.map(asShown)));
});
