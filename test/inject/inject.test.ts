import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadDestinations } from '../../src/config/load.ts';
import { agentTrace } from '../../src/inject/agent-trace.ts';
import { inject } from '../../src/inject/inject.ts';
import type { Injection } from '../../src/inject/inject.ts';
import { encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { folder } from '../config/folder.ts';

type Answer = { status: number; headers?: Record<string, string>; body?: string };

/** A server that gives these answers, one after the other, and the last one for ever. */
async function serverWith(...answers: readonly Answer[]): Promise<{ url: string; bodies: Buffer[] }> {
  const bodies: Buffer[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const answer = answers[Math.min(bodies.length, answers.length - 1)]!;
      bodies.push(Buffer.concat(chunks));
      response.writeHead(answer.status, answer.headers).end(answer.body);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}

const TAKEN: Answer = { status: 200, headers: { 'content-type': 'application/x-protobuf' } };
const BUSY: Answer = { status: 503, headers: { 'retry-after': '0' } };
const NOWHERE = 'http://127.0.0.1:1';

async function run(relayUrl: string, mlflowUrl: string, more: Partial<Injection> = {}) {
  const file = join(
    folder({
      'relay.yaml': `destinations: {mlflow: {kind: mlflow, url: "${mlflowUrl}", experiment: {id: "7"}, auth: {kind: none}}}`,
    }),
    'relay.yaml',
  );
  return inject({
    endpoint: { url: new URL(`${relayUrl}/v1/traces`), tls: {} },
    destination: { name: 'mlflow', config: loadDestinations(file, {})['mlflow']! },
    load: { kind: 'agent', count: 1, service: 'test', attributes: {} },
    rate: undefined,
    waitMs: 300,
    experiment: undefined,
    ...more,
  });
}

describe('a trace that the relay has taken is', () => {
  test.each<[string, Answer, string, RegExp]>([
    ['a login page', { status: 302, headers: { location: '/login' } }, 'not readable', /redirects \(302\)/],
    ['no token', { status: 401 }, 'not readable', /answers 401: the access token is not taken: set auth/],
    ['something else', { status: 200, body: 'hello' }, 'not readable', /no answer of MLflow's REST API/],
    [
      'a closed door',
      { status: 403, body: 'Permission denied' },
      'not readable',
      /needs READ on experiment 7/,
    ],
    ['a fault', { status: 500, body: 'oops' }, 'not stored', /answers 500 \(oops\)/],
  ])('told of by what MLflow answers: %s', async (_, answer, outcome, reason) => {
    const [relay, mlflow] = [await serverWith(TAKEN), await serverWith(answer)];
    const [result] = await run(relay.url, mlflow.url);
    const { link, ...rest } = result!;
    expect(rest).toEqual({
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
      outcome,
      spans: 5,
      differences: [],
      reason: expect.stringMatching(reason) as string,
    });
    // Where it is not known whether it is there, a person may look.
    expect(link?.includes('/#/experiments/7/traces?') ?? false).toBe(outcome === 'not readable');
  });

  test('not stored, where nobody answers', async () => {
    const relay = await serverWith(TAKEN);
    expect(await run(relay.url, NOWHERE)).toMatchObject([
      { outcome: 'not stored', reason: 'nothing listens at 127.0.0.1:1 (connection refused)' },
    ]);
  });
});

test('a relay that is busy is asked again until the time is up, and not without a time', async () => {
  const patient = await serverWith(BUSY, BUSY, TAKEN);
  expect(await run(patient.url, NOWHERE)).toMatchObject([{ outcome: 'not stored' }]);
  expect(patient.bodies).toHaveLength(3);
  const hasty = await serverWith({ ...BUSY, headers: { 'retry-after': '1' } });
  expect(await run(hasty.url, NOWHERE, { waitMs: undefined })).toMatchObject([{ outcome: 'refused' }]);
  expect(hasty.bodies).toHaveLength(1);
});

test('of a file every request is sent as it is, and a trace is refused where one of its requests is', async () => {
  const [one, two] = [agentTrace('one', {}, 0), agentTrace('two', {}, 0)];
  const relay = await serverWith(TAKEN, { status: 400 });
  const seen: string[] = [];
  const sent: number[] = [];
  const results = await run(relay.url, NOWHERE, {
    load: { kind: 'requests', requests: [one.payload, two.payload] },
    waitMs: undefined,
    onSent: () => sent.push(relay.bodies.length),
    onResult: ({ traceId }) => seen.push(traceId),
  });
  expect(relay.bodies.map((body) => body.equals(one.payload) || body.equals(two.payload))).toEqual([
    true,
    true,
  ]);
  expect(results.map(({ traceId, outcome }) => [traceId, outcome])).toEqual([
    [one.traceId, 'sent'],
    [two.traceId, 'refused'],
  ]);
  expect(seen).toEqual([one.traceId, two.traceId]);
  // Not after all of them.
  expect(sent).toEqual([1, 2]);
});

const IDS = { trace: 'ab'.repeat(16), root: 'cd'.repeat(8), child: 'ef'.repeat(8) };

/** A file with a root and its child. */
async function requests(): Promise<Injection['load']> {
  const step = { traceId: IDS.trace, name: 'step' };
  const spans = [
    { ...step, spanId: IDS.root },
    { ...step, spanId: IDS.child, parentSpanId: IDS.root },
  ];
  const read = encodeTracesJsonNow(
    Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] })),
  );
  if (!read.ok) throw new Error(read.message);
  return { kind: 'requests', requests: [read.payload] };
}

const json = (body: object): Answer => ({
  status: 200,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});
const base64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64');

/** As MLflow gives it back. */
function traceOf(name: string, ...spanIds: readonly string[]): Answer {
  const spans = spanIds.map((id) => ({
    trace_id: base64(IDS.trace),
    span_id: base64(id),
    parent_span_id: id === IDS.root ? '' : base64(IDS.root),
    name,
  }));
  const trace_location = { mlflow_experiment: { experiment_id: '7' } };
  return json({ trace: { trace_info: { trace_location, state: 'OK' }, spans } });
}

const EXPERIMENT = json({ experiment: { experiment_id: '7' } });
const ABSENT: Answer = { status: 404 };
const WHOLE = traceOf('step', IDS.root, IDS.child);
const OTHER = traceOf('other', IDS.root, IDS.child);

describe('before a file is sent, its traces are looked for:', () => {
  test.each<[string, Answer[], object]>([
    ['there, and equal', [EXPERIMENT, WHOLE], { outcome: 'stored', alreadyStored: true }],
    ['not there, then stored', [EXPERIMENT, ABSENT, WHOLE], { outcome: 'stored' }],
    ['there in part', [EXPERIMENT, traceOf('step', IDS.root), WHOLE], { outcome: 'stored' }],
    ['there, but different, then equal', [EXPERIMENT, OTHER, OTHER, WHOLE], { outcome: 'stored' }],
    ['there, and as different after', [EXPERIMENT, OTHER], { outcome: 'differs', alreadyStored: true }],
    ['it cannot be asked', [{ status: 500 }, EXPERIMENT, WHOLE], { outcome: 'stored' }],
    ['it may not be asked', [{ status: 403 }, EXPERIMENT, WHOLE], { outcome: 'stored' }],
  ])('%s', async (_, answers, expected) => {
    const [relay, mlflow] = [await serverWith(TAKEN), await serverWith(...answers)];
    const [result] = await run(relay.url, mlflow.url, { load: await requests(), waitMs: 5_000 });
    expect(result).toMatchObject(expected);
    expect(result?.alreadyStored).toBe('alreadyStored' in expected ? true : undefined);
    // A time would be that of another sending.
    expect(typeof result?.storedAfterMs).toBe('alreadyStored' in expected ? 'undefined' : 'number');
  });
});

test('what MLflow does not have has no link, and what it has in part has one', async () => {
  const relay = await serverWith(TAKEN);
  const load = await requests();
  const none = await run(relay.url, (await serverWith(EXPERIMENT, ABSENT)).url, { load });
  expect(none).toEqual([
    {
      traceId: IDS.trace,
      outcome: 'not stored',
      spans: 2,
      differences: [],
      reason: "MLflow does not have it: see the relay's /status, and `mlflow-trace-relay dead-letters list`",
    },
  ]);
  const part = await serverWith(EXPERIMENT, traceOf('step', IDS.root));
  expect(await run(relay.url, part.url, { load })).toMatchObject([
    { outcome: 'not stored', reason: 'MLflow has 1 of its 2 spans', link: expect.any(String) as string },
  ]);
});
