import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../src/config/load.ts';
import { startRelay } from '../src/relay.ts';
import { folder } from './config/folder.ts';
import { tracesProtobuf } from './receiver/payloads.ts';
import { waitFor } from './stack/processes.ts';

/** The longest that anything is waited for; far above what it takes. */
const DEADLINE_MS = 45_000;

/** MLflow's words for a body that it cannot read. */
const REFUSAL = JSON.stringify({ detail: 'Invalid OpenTelemetry format' });

/** One resource without spans, which the relay asks with whether anything is taken. */
const EMPTY_REQUEST_SIZE = 2;

type Mode = 'down' | 'takes' | 'refuses spans' | 'refuses all';

/** A server where MLflow would be: it breaks connections off, answers with an OTLP success, or refuses. */
async function startUpstream() {
  let mode: Mode = 'down';
  const server = createServer((request, response) => {
    if (mode === 'down') {
      request.socket.destroy();
      return;
    }
    let size = 0;
    request.on('data', (chunk: Buffer) => (size += chunk.length));
    request.once('end', () => {
      const isEmpty = size <= EMPTY_REQUEST_SIZE;
      if (mode === 'takes' || (mode === 'refuses spans' && isEmpty))
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      else response.writeHead(400, { 'content-type': 'application/json' }).end(REFUSAL);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    become: (next: Mode) => (mode = next),
  };
}

/** A relay in this process, between plain HTTP and the upstream. */
async function startTestRelay(upstreamUrl: string, queueSize = '64MiB') {
  const path = folder({
    'relay.yaml': `
receiver: { listen: '127.0.0.1:0', plaintext: true, max_request_body_size: 256KiB }
queue: { directory: queue, max_size: ${queueSize} }
destinations:
  mlflow: { kind: mlflow, url: '${upstreamUrl}', experiment: { id: '1' }, auth: { kind: none } }
admin: { listen: '127.0.0.1:0' }
`,
  });
  const relay = await startRelay(loadConfig(join(path, 'relay.yaml'), {}), pino({ level: 'silent' }));
  onTestFinished(() => relay.stop(0));
  const admin = `http://127.0.0.1:${relay.adminPort}`;
  return {
    post: (body: Buffer) =>
      fetch(`http://127.0.0.1:${relay.receiverPort}/v1/traces`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-protobuf' },
        body: new Uint8Array(body),
      }),
    ready: async () => (await fetch(`${admin}/readyz`)).status,
    status: async () => (await (await fetch(`${admin}/status`)).json()) as Status,
    /** Samples by name and labels, without the prefix. */
    metrics: async () => {
      const text = await (await fetch(`${admin}/metrics`)).text();
      const samples = [...text.matchAll(/^mlflow_trace_relay_(\S+) (\S+)$/gm)];
      return new Map(samples.map(([, name = '', value]) => [name, Number(value)]));
    },
  };
}

type TestRelay = Awaited<ReturnType<typeof startTestRelay>>;
type Status = { destinations: { mlflow: { state: string; waiting_spans: number } } };

const of = (name: string) => `${name}{destination="mlflow"}`;

/** Asks for the metrics until they are as wanted. */
function metricsWhen(relay: TestRelay, what: string, isWanted: (metrics: Map<string, number>) => boolean) {
  return waitFor(`${what} was not to be seen`, DEADLINE_MS, async () => {
    const metrics = await relay.metrics();
    return isWanted(metrics) ? metrics : undefined;
  });
}

test('the gauges show what waits while the upstream is down, and that it is gone once it is delivered', async () => {
  const upstream = await startUpstream();
  const relay = await startTestRelay(upstream.url);
  const empty = await relay.metrics();
  expect(empty.get(of('waiting_spans'))).toBe(0);
  expect(empty.get(of('oldest_waiting_seconds'))).toBe(0);

  expect((await relay.post(tracesProtobuf(['one', 'two', 'three']))).status).toBe(200);
  const aged = of('oldest_waiting_seconds');
  const waiting = await metricsWhen(relay, 'the age', (metrics) => (metrics.get(aged) ?? 0) > 0);
  expect(waiting.get(aged)).toBeLessThan(DEADLINE_MS / 1000);
  expect(waiting.get(of('waiting_spans'))).toBe(3);
  expect(waiting.get('queue_bytes')).toBeGreaterThan(empty.get('queue_bytes') ?? Number.NaN);
  expect(waiting.get('queue_max_bytes')).toBe(64 * 1024 * 1024);
  expect(waiting.get('queue_segments')).toBe(1);
  expect(waiting.get(of('token_expiry_timestamp_seconds'))).toBe(0);
  expect(waiting.get(of('dead_letter_spans'))).toBe(0);
  await metricsWhen(
    relay,
    'the trouble',
    (metrics) => metrics.get('upstream_state{destination="mlflow",state="retrying"}') === 1,
  );
  expect(await relay.ready()).toBe(200);

  upstream.become('takes');
  const delivered = await metricsWhen(
    relay,
    'the delivery',
    (metrics) => metrics.get(of('waiting_spans')) === 0,
  );
  expect(delivered.get(aged)).toBe(0);
  expect(delivered.get(of('delivered_spans_total'))).toBe(3);
  expect(await relay.status()).toMatchObject({ destinations: { mlflow: { state: 'up', waiting_spans: 0 } } });
});

test('what the upstream refuses for good is seen as dead letters', async () => {
  const upstream = await startUpstream();
  upstream.become('refuses spans');
  const relay = await startTestRelay(upstream.url);
  expect((await relay.post(tracesProtobuf(['one', 'two']))).status).toBe(200);
  const metrics = await metricsWhen(
    relay,
    'a dead letter',
    (now) => now.get(of('dead_letter_spans')) === 2 && now.get(of('waiting_spans')) === 0,
  );
  expect(metrics.get('accepted_spans_total')).toBe(2);
  expect(metrics.get(of('delivered_spans_total'))).toBe(0);
  expect(await relay.ready()).toBe(200);
});

test('what says of everything, also of nothing, that it is bad has a fault: no span is given up', async () => {
  const upstream = await startUpstream();
  upstream.become('refuses all');
  const relay = await startTestRelay(upstream.url);
  expect((await relay.post(tracesProtobuf(['one', 'two']))).status).toBe(200);
  const state = 'upstream_state{destination="mlflow",state="blocked"}';
  const metrics = await metricsWhen(relay, 'the trouble', (now) => now.get(state) === 1);
  expect(metrics.get(of('dead_letter_spans'))).toBe(0);
  upstream.become('takes');
  const delivered = await metricsWhen(relay, 'the delivery', (now) => now.get(of('waiting_spans')) === 0);
  expect(delivered.get(of('delivered_spans_total'))).toBe(2);
  expect(delivered.get(of('dead_letter_spans'))).toBe(0);
});

test('a full queue answers 503 with Retry-After and stays ready; when the upstream is back, it takes again', async () => {
  const upstream = await startUpstream();
  const relay = await startTestRelay(upstream.url, '1MiB');
  let firstId = 0;
  const postLarge = () => relay.post(tracesProtobuf(['n'.repeat(200 * 1024)], { firstId: firstId++ }));
  let taken = 0;
  let answer = await postLarge();
  for (; answer.status === 200 && taken < 10; answer = await postLarge()) taken++;
  expect(taken).toBe(5);
  expect(answer.status).toBe(503);
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(await answer.text()).toContain('the queue of the relay is full');
  expect(await relay.ready()).toBe(200);
  const full = await relay.metrics();
  expect(full.get('queue_bytes')).toBeLessThanOrEqual(full.get('queue_max_bytes') ?? Number.NaN);
  expect(full.get('accepted_spans_total')).toBe(5);
  expect(full.get(of('waiting_spans'))).toBe(5);
  expect(full.get('refused_spans_total{reason="queue_full"}')).toBe(1);
  // There is room for a small one, and it is for others than the one that filled the rest.
  const small = await relay.post(tracesProtobuf(['small']));
  expect(small.status).toBe(503);
  expect(await small.text()).toContain('this sender has the fair share of it');
  expect((await relay.metrics()).get('refused_spans_total{reason="queue_over_share"}')).toBe(1);

  upstream.become('takes');
  await waitFor('the queue took nothing again', DEADLINE_MS, async () =>
    (await postLarge()).status === 200 ? true : undefined,
  );
  const drained = await metricsWhen(
    relay,
    'the end of the backlog',
    (metrics) => metrics.get(of('waiting_spans')) === 0,
  );
  expect(drained.get(of('delivered_spans_total'))).toBe(6);
});
