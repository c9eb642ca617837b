import { readFileSync } from 'node:fs';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { sendHtml, sendJson, startServer } from '../auth/support.ts';
import { DELIVERED, destination, upstream } from './mlflow-support.ts';
import { countingTokens } from './support.ts';

it('sends the parts as one body, with all that MLflow wants to know', async () => {
  const { url, asked, experiments } = await upstream();
  experiments.push({ experiment_id: '7', name: 'traces', lifecycle_stage: 'active' });
  const { send } = destination(url, { workspace: 'team' }, countingTokens());

  expect(await send(Buffer.from('abc'), Buffer.from('def'))).toEqual(DELIVERED);

  const [rest, traces] = asked;
  expect(rest).toMatchObject({
    what: 'GET get-by-name',
    headers: { authorization: 'Bearer token 1', 'x-mlflow-workspace': 'team', accept: 'application/json' },
  });
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(traces).toMatchObject({
    what: 'POST /v1/traces',
    headers: {
      authorization: 'Bearer token 1',
      'x-mlflow-experiment-id': '7',
      'x-mlflow-workspace': 'team',
      'content-type': 'application/x-protobuf',
      accept: 'application/x-protobuf',
      'user-agent': `mlflow-trace-relay/${version}`,
    },
    body: Buffer.from('abcdef'),
  });
  expect(traces?.headers).not.toHaveProperty('content-encoding');
});

it('compresses what is worth it', async () => {
  const { url, asked } = await upstream();
  const { send } = destination(url);
  const parts = [Buffer.alloc(40_000, 'a'), Buffer.alloc(40_000, 'b')];
  expect(await send(...parts)).toEqual(DELIVERED);
  const traces = asked.at(-1);
  expect(traces?.headers['content-encoding']).toBe('gzip');
  expect(Number(traces?.headers['content-length'])).toBeLessThan(2_000);
  expect(traces?.body.equals(Buffer.concat(parts))).toBe(true);
});

it.each(['', '/'])('keeps the base path of its url, ending in "%s"', async (end) => {
  const { url, counts } = await upstream(undefined, '/tenants/1');
  const { send } = destination(`${url}/tenants/1${end}`);
  expect(await send()).toEqual(DELIVERED);
  expect(counts()).toEqual({ 'GET get-by-name': 1, 'POST create': 1, 'POST /v1/traces': 1 });
});

it('tells targets apart, and names them for people', () => {
  const a = destination('https://mlflow.test/base').target;
  const b = destination('https://mlflow.test/base', { experiment: { id: '1' }, workspace: 'team' }).target;
  expect(a.key).not.toBe(b.key);
  expect(a.description).toBe('experiment "traces" at https://mlflow.test/base');
  expect(b.description).toBe('experiment 1 in workspace "team" at https://mlflow.test/base');
});

describe('without MLflow', () => {
  it.each<[string, Parameters<typeof startServer>[0], SendOutcome['kind'], string]>([
    ['hangs', () => {}, 'retry', 'within 0.3 s'],
    ['hangs up', (request) => void request.socket.destroy(), 'retry', 'closed the connection'],
    [
      'a login',
      (_, response) => response.writeHead(302, { location: '/oidc/ui' }).end(),
      'blocked',
      'redirects to',
    ],
    ['a page', (_, response) => sendHtml(response, 200), 'blocked', "no answer of MLflow's REST API"],
    [
      'a book',
      (_, response) => response.end(Buffer.alloc(100_000)),
      'blocked',
      'it is not MLflow that answers there',
    ],
    ['overload', (_, r) => r.writeHead(503, { 'retry-after': '3' }).end(), 'retry', 'answers 503'],
  ])('%s', async (_, handler, kind, words) => {
    const server = await startServer(handler);
    onTestFinished(() => server.stop());
    const { send } = destination(server.url, { timeoutMs: words.includes('within') ? 300 : 10_000 });
    expect(await send()).toMatchObject({ kind, reason: expect.stringContaining(words) });
  });

  it('nobody listens', async () => {
    const server = await startServer(() => {});
    await server.stop();
    expect(await destination(server.url).send()).toMatchObject({
      kind: 'retry',
      reason: expect.stringContaining('nothing listens'),
    });
  });
});

describe('answers to traces', () => {
  it.each<[string, (response: import('node:http').ServerResponse) => unknown, SendOutcome['kind'], string]>([
    ['hangs', () => {}, 'retry', 'within 0.5 s'],
    [
      'is cut',
      (response) => {
        response
          .writeHead(200, { 'content-type': 'application/x-protobuf', 'content-length': '10' })
          .write('a');
        setImmediate(() => response.destroy());
      },
      'retry',
      'closed the connection before its answer was complete',
    ],
    ['HTML', (response) => sendHtml(response, 200), 'blocked', 'is it a login page?'],
    [
      'redirect',
      (response) => response.writeHead(302, { location: '/oidc/ui' }).end(),
      'blocked',
      '/oidc/ui (302)',
    ],
    [
      'a book',
      (response) => response.writeHead(200, { 'content-type': 'text/html' }).end(Buffer.alloc(100_000)),
      'blocked',
      'more than 65536 bytes',
    ],
    [
      'a long failure',
      (response) => response.writeHead(502).end(Buffer.alloc(100_000)),
      'retry',
      'answers 502',
    ],
    [
      'a refusal',
      (response) => sendJson(response, 400, { error_code: 'INVALID_PARAMETER_VALUE', message: 'bad' }),
      'refused',
      'INVALID_PARAMETER_VALUE: bad',
    ],
  ])('%s', async (_, answer, kind, words) => {
    const { url } = await upstream(({ what }, response) => {
      if (what === 'POST /v1/traces') answer(response);
      return what === 'POST /v1/traces';
    });
    const { send } = destination(url, { timeoutMs: words.includes('within') ? 500 : 10_000 });
    expect(await send()).toMatchObject({ kind, reason: expect.stringContaining(words) });
  });

  it('asks to wait', async () => {
    const { url } = await upstream(({ what }, response) => {
      if (what === 'POST /v1/traces') response.writeHead(503, { 'retry-after': '3' }).end();
      return what === 'POST /v1/traces';
    });
    expect(await destination(url).send()).toMatchObject({ kind: 'retry', after: 3_000 });
  });

  it('is given up when the relay stops', async () => {
    const arrived = Promise.withResolvers<void>();
    const { url } = await upstream(({ what }) => {
      if (what === 'POST /v1/traces') arrived.resolve();
      return what === 'POST /v1/traces';
    });
    const { mlflow, target } = destination(url);
    const stopping = new AbortController();
    const sent = mlflow.send(target, [Buffer.from([0x0a, 0x00])], stopping.signal);
    await arrived.promise;
    stopping.abort();
    expect(await sent).toMatchObject({ kind: 'retry', reason: expect.stringContaining('stopped waiting') });
  });
});

it('mends what was refused, unless it is told not to', () => {
  expect(destination('https://mlflow.test').mlflow.repair?.(new Uint8Array())).toBeUndefined();
  expect(destination('https://mlflow.test', { repair: false }).mlflow).not.toHaveProperty('repair');
});

it.each([
  [404, 'No Experiment with id=7 exists', 2],
  [404, `Cannot log spans to traces that no longer exist: 'tr-${'0'.repeat(32)}'.`, 1],
])('looks its experiment up again after %i %s: %i look-ups in all', async (status, message, lookUps) => {
  const body = { error_code: 'RESOURCE_DOES_NOT_EXIST', message };
  const { url, counts } = await upstream((asked, response) => {
    if (asked.what !== 'POST /v1/traces') return false;
    sendJson(response, status, body);
    return true;
  });
  const { send } = destination(url);
  await send();
  await send();
  expect(counts()).toMatchObject({ 'GET get-by-name': lookUps, 'POST /v1/traces': 2 });
});
