import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { sendHtml, sendJson } from '../auth/support.ts';
import { DELIVERED, destination, upstream } from './mlflow-support.ts';
import { countingTokens } from './support.ts';

const TRACES = 'POST /v1/traces';

it('sends one empty ResourceSpans, with all that a batch has with it', async () => {
  const { url, asked } = await upstream();
  expect(await destination(url, {}, countingTokens()).probe()).toEqual(DELIVERED);
  expect(asked.at(-1)).toMatchObject({
    what: TRACES,
    headers: { authorization: 'Bearer token 1', 'x-mlflow-experiment-id': '1' },
    body: Buffer.from([0x0a, 0x00]),
  });
});

it('waits for an answer no longer than 2 s', async () => {
  const { url } = await upstream(({ what }) => what === TRACES);
  expect(await destination(url).probe()).toMatchObject({
    kind: 'retry',
    reason: expect.stringContaining('within 2 s'),
  });
});

describe('while the upstream is set up wrong, and once it is mended', () => {
  it.each<[string, (response: ServerResponse) => unknown, string]>([
    [
      'no permission',
      (response) => response.writeHead(403, { 'content-type': 'text/plain' }).end('Permission denied'),
      'needs EDIT on experiment "traces"',
    ],
    ['a login page', (response) => sendHtml(response, 200), 'is it a login page?'],
    [
      'a way to a login page',
      (response) => response.writeHead(302, { location: '/login' }).end(),
      'is it a login page?',
    ],
    ['another path', (response) => sendJson(response, 404, { detail: 'Not Found' }), 'check the path of url'],
    ['no OTLP', (response) => sendJson(response, 405, { detail: 'Method Not Allowed' }), 'check the path'],
    ['no database', (response) => sendJson(response, 501, { detail: 'not supported' }), 'needs a store'],
  ])('%s', async (_, answer, words) => {
    let isWrong = true;
    const { url } = await upstream(({ what }, response) => {
      if (what !== TRACES || !isWrong) return false;
      answer(response);
      return true;
    });
    const { probe } = destination(url);
    const blocked = { kind: 'blocked', reason: expect.stringContaining(words) as string };
    expect(await probe()).toMatchObject(blocked);
    expect(await probe()).toMatchObject(blocked);
    isWrong = false;
    expect(await probe()).toEqual(DELIVERED);
  });

  it('a deleted experiment', async () => {
    const { url, experiments } = await upstream();
    const experiment = { experiment_id: '1', name: 'traces', lifecycle_stage: 'deleted' as const };
    experiments.push(experiment);
    const { probe } = destination(url);
    const blocked = { kind: 'blocked', reason: expect.stringContaining('is deleted in MLflow') as string };
    expect(await probe()).toMatchObject(blocked);
    expect(await probe()).toMatchObject(blocked);
    experiments[0] = { ...experiment, lifecycle_stage: 'active' };
    expect(await probe()).toEqual(DELIVERED);
  });
});
