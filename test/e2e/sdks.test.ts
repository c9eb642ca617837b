import { createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StoredSpan } from '../stack/mlflow-client.ts';
import { ensureSdk, toolchainsOf } from '../stack/sdks.ts';
import type { Program, SdkLanguage } from '../stack/sdks.ts';
import { clientFiles, metric, startTestRelay, temporaryFolder } from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { SERVICE, exporterVariables, runSdkProgram } from './support/sdk-program.ts';
import { skipWithout } from './support/skip.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { tapTls } from './support/tls-tap.ts';
import { asStored, inOrder } from './support/traces.ts';

const cleanUps: (() => Promise<void>)[] = [];
let stack: Stack;
let relay: TestRelay;
beforeAll(async () => {
  stack = await useSharedStack();
  relay = await startTestRelay(stack, {}, (finish) => cleanUps.push(finish));
});
afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  await stack?.stop();
});

/** With the relay's protocols that each speaks. */
const SDKS: { language: SdkLanguage; title: string; protocols: string[] }[] = [
  { language: 'javascript', title: 'JavaScript', protocols: ['http/protobuf', 'http/json'] },
  { language: 'java', title: 'Java', protocols: ['http/protobuf'] },
  { language: 'go', title: 'Go', protocols: ['http/protobuf', 'http/json'] },
];
const CONTENT_TYPES: Record<string, string> = {
  'http/protobuf': 'application/x-protobuf',
  'http/json': 'application/json',
};

async function send(program: Program, variables: Record<string, string>): Promise<StoredSpan[]> {
  const before = await metric(relay, 'accepted_spans_total');
  const { spans, complaints } = await runSdkProgram(program, { ...SERVICE, ...variables });
  // By then the SDK has its 200, or has given up.
  const accepted = (await metric(relay, 'accepted_spans_total')) - before;
  expect({ accepted, complaints }).toEqual({ accepted: spans.length, complaints: expect.any(String) });
  return spans;
}

/** The spans as they are in MLflow. */
async function readBack(spans: readonly StoredSpan[]): Promise<StoredSpan[]> {
  const trace = await stack.mlflow.waitForTrace(spans[0]!.traceId, { spans: spans.length });
  expect(trace.state).toBe('OK');
  expect(trace.tags).toMatchObject({ 'service.name': 'e2e-sdk', 'deployment.environment.name': 'test' });
  return inOrder(trace.spans);
}

describe.each(SDKS)('the SDK for $title', ({ language, protocols }) => {
  describe.skipIf(skipWithout(...toolchainsOf(language)))('set up by the standard variables', () => {
    let program: Program;
    beforeAll(async () => {
      program = await ensureSdk(language);
    });

    test('sends a trace over mTLS that is read back as it was sent', async () => {
      const exporter = exporterVariables(stack, relay.url, {
        scope: 'OTEL_EXPORTER_OTLP',
        protocol: 'http/protobuf',
      });
      const spans = await send(program, exporter);
      expect(await readBack(spans)).toEqual(asStored(spans));

      // Guards against a program that sends less than this test is about.
      expect(spans.map(({ name }) => name)).toEqual(['root', 'chat model', 'tool']);
      expect(new Set(spans.map(({ status }) => status.code)).size).toBe(3);
      expect(spans.flatMap(({ events }) => events)).toHaveLength(3);
      expect(spans.flatMap(({ links }) => links)).toHaveLength(2);
      expect(Object.keys(spans[1]!.attributes).length).toBeGreaterThan(15);
    });

    test.each(protocols)('compresses, as %s, by the variables of traces', async (protocol) => {
      const tap = await tapTls(relay.url, stack);
      const exporter = exporterVariables(stack, tap.url, {
        scope: 'OTEL_EXPORTER_OTLP_TRACES',
        protocol,
        compression: 'gzip',
      });
      const spans = await send(program, exporter);
      expect(tap.requests).toEqual([
        { path: '/v1/traces', contentType: CONTENT_TYPES[protocol], contentEncoding: 'gzip', status: 200 },
      ]);
      expect(await readBack(spans)).toEqual(asStored(spans));
    });

    if (language !== 'java') return;
    test('reads a key in PKCS #8 only, and says so at its start', async () => {
      const key = createPrivateKey(await readFile(clientFiles(stack).keyFile));
      const keyFile = join(await temporaryFolder(), 'client.key');
      await writeFile(keyFile, key.export({ type: 'sec1', format: 'pem' }), { mode: 0o600 });
      const run = runSdkProgram(program, {
        ...SERVICE,
        ...exporterVariables(stack, relay.url, { scope: 'OTEL_EXPORTER_OTLP', protocol: 'http/protobuf' }),
        OTEL_EXPORTER_OTLP_CLIENT_KEY: keyFile,
      });
      await expect(run).rejects.toThrow(/ConfigurationException[^]*Could not build KeyManagerFactory/);
    });
  });
});
