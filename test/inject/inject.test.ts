import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadDestinations } from '../../src/config/load.ts';
import { agentTrace } from '../../src/inject/agent-trace.ts';
import { inject } from '../../src/inject/inject.ts';
import type { Injection } from '../../src/inject/inject.ts';
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
    expect(await run(relay.url, mlflow.url)).toEqual([
      {
        traceId: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
        outcome,
        spans: 5,
        differences: [],
        reason: expect.stringMatching(reason) as string,
        link: expect.stringContaining('/#/experiments/7/traces?') as string,
      },
    ]);
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
