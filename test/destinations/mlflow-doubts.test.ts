import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { sendHtml, sendJson } from '../auth/support.ts';
import { html, json, mlflow, read, text } from './answers.ts';
import { DELIVERED, destination, upstream } from './mlflow-support.ts';
import { countingTokens } from './support.ts';

/* Answers other than 401 that a token may be the reason of: a fresh one is tried before the destination is blocked. */

describe('an answer', () => {
  it.each<[string, SendOutcome]>([
    ['302', read(302, '', { location: '/login' })],
    ['303', read(303)],
    ['307', read(307)],
    ['403 in words', text(403, 'Permission denied')],
    ['403 of MLflow', mlflow(403, 'PERMISSION_DENIED', 'no')],
    ['403 and a page', html(403)],
    ['a page in place of an answer', html(200)],
    ['202 and a page', html(202)],
  ])('%s doubts the token', (_, outcome) => {
    expect(outcome).toMatchObject({ kind: 'blocked', doubtsToken: true });
  });

  it.each<[string, SendOutcome]>([
    ['301', read(301, '', { location: 'https://mlflow.example/' })],
    ['308', read(308)],
    ['404 and a page', html(404)],
    ['405', read(405)],
    ['501', json(501, { detail: 'not supported' })],
    ['other JSON', json(200, { status: 'ok' })],
    ['503 and a page', html(503)],
  ])('%s does not', (_, outcome) => {
    expect(outcome).not.toHaveProperty('doubtsToken');
  });
});

const TRACES = 'POST /v1/traces';
const ANSWERS: [string, (response: ServerResponse) => unknown][] = [
  ['a way to a login', (response) => response.writeHead(302, { location: '/oauth2/start' }).end()],
  ['403', (response) => response.writeHead(403, { 'content-type': 'text/plain' }).end('Permission denied')],
  ['a page that forbids', (response) => sendHtml(response, 403)],
  ['a login page', (response) => sendHtml(response, 200)],
];

/** Answers so to all tokens but those that are `taken`. */
async function setUp(answer: (response: ServerResponse) => unknown, what = TRACES, taken: string[] = []) {
  const { url } = await upstream((asked, response) => {
    const value = asked.headers.authorization?.replace('Bearer ', '') ?? '';
    if (asked.what !== what || taken.includes(value)) return false;
    answer(response);
    return true;
  });
  const tokens = countingTokens();
  return { ...destination(url, {}, tokens), tokens, url };
}

describe.each(ANSWERS)('%s', (_, answer) => {
  it.each([TRACES, 'GET get-by-name', 'POST create'])(
    'to %s with a token that is no longer taken: the next one is used',
    async (what) => {
      const { send, tokens } = await setUp(answer, what, ['token 2']);
      expect(await send()).toMatchObject({ kind: 'unauthorized' });
      expect(await send()).toEqual(DELIVERED);
      expect(tokens.doubted).toEqual(['token 1']);
    },
  );

  it('to every token: blocked at the second, and one token is tried with each request', async () => {
    const { send, tokens } = await setUp(answer);
    const kinds: string[] = [];
    const reasons = new Set<string>();
    for (let i = 0; i < 4; i++) {
      const outcome = await send();
      kinds.push(outcome.kind);
      if ('reason' in outcome) reasons.add(outcome.reason);
    }
    expect(kinds).toEqual(['unauthorized', 'blocked', 'blocked', 'blocked']);
    expect(reasons.size).toBe(1);
    expect(tokens.doubted).toHaveLength(4);
  });

  it('costs no more tokens than 401', async () => {
    const doubted = await setUp(answer);
    const refused = await setUp((response) => sendJson(response, 401, { detail: 'Authentication required' }));
    for (let i = 0; i < 10; i++) {
      // As it is asked in delivery: once more, at once, where a fresh token may help.
      for (const { send } of [doubted, refused]) if ((await send()).kind === 'unauthorized') await send();
    }
    expect(doubted.tokens.doubted.length).toBeLessThanOrEqual(refused.tokens.dropped.length);
  });

  it('to requests that are under way together counts once', async () => {
    const { send, tokens } = await setUp(answer, TRACES, ['token 2']);
    const together = await Promise.all(Array.from({ length: 8 }, () => send()));
    expect(new Set(together.map(({ kind }) => kind))).toEqual(new Set(['unauthorized']));
    expect(tokens.doubted).toEqual(['token 1']);
    expect(await send()).toEqual(DELIVERED);
  });

  it('once more, after traces were taken: a fresh token is tried again', async () => {
    const taken = ['token 2'];
    const { send } = await setUp(answer, TRACES, taken);
    await send();
    expect(await send()).toEqual(DELIVERED);
    taken.splice(0, 1, 'token 3');
    expect(await send()).toMatchObject({ kind: 'unauthorized' });
    expect(await send()).toEqual(DELIVERED);
  });

  it('without a token: blocked at once', async () => {
    const { url } = await setUp(answer);
    expect((await destination(url).send()).kind).toBe('blocked');
  });

  it('to a look at an experiment by its id, which is not needed: no token is doubted', async () => {
    const { url, tokens } = await setUp(answer, 'GET get');
    const { send } = destination(url, { experiment: { id: '1' } }, tokens);
    for (let i = 0; i < 3; i++) expect(await send()).toEqual(DELIVERED);
    expect(tokens.doubted).toEqual([]);
  });
});
