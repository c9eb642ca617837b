import { describe, expect, it } from 'vitest';
import { sendJson } from '../auth/support.ts';
import { DELIVERED, destination, upstream } from './mlflow-support.ts';
import { countingTokens } from './support.ts';

describe('tokens', () => {
  it.each([
    [{ kind: 'unavailable', reason: 'away' } as const, { kind: 'retry', reason: 'away' }],
    [{ kind: 'rejected', reason: 'no' } as const, { kind: 'blocked', reason: 'no' }],
  ])('%o: nothing is sent', async (result, outcome) => {
    const { url, asked } = await upstream();
    const tokens = countingTokens();
    tokens.result = result;
    expect(await destination(url, {}, tokens).send()).toEqual(outcome);
    expect(asked).toEqual([]);
  });

  it('are dropped at a 401, and the next one is used', async () => {
    const { url } = await upstream(({ what, headers }, response) => {
      if (what !== 'POST /v1/traces' || headers.authorization === 'Bearer token 2') return false;
      sendJson(response, 401, { detail: 'Authentication required' });
      return true;
    });
    const tokens = countingTokens();
    const { send } = destination(url, {}, tokens);
    expect(await send()).toMatchObject({
      kind: 'unauthorized',
      reason: expect.stringContaining('Authentication required'),
    });
    expect(tokens.dropped).toEqual(['token 1']);
    expect(await send()).toEqual(DELIVERED);
  });

  it('are dropped at a 401 of the REST API as well', async () => {
    const { url } = await upstream(({ headers }, response) => {
      if (headers.authorization !== 'Bearer token 1') return false;
      sendJson(response, 401, { detail: 'Authentication required' });
      return true;
    });
    const { send } = destination(url, {}, countingTokens());
    expect(await send()).toMatchObject({ kind: 'unauthorized' });
    expect(await send()).toEqual(DELIVERED);
  });

  it('that are refused one after the other block; requests under way together count once', async () => {
    let isRefusing = true;
    const { url } = await upstream(({ what }, response) => {
      if (what !== 'POST /v1/traces' || !isRefusing) return false;
      sendJson(response, 401, { detail: 'Authentication required' });
      return true;
    });
    const tokens = countingTokens();
    const { send } = destination(url, {}, tokens);
    const together = await Promise.all(Array.from({ length: 8 }, () => send()));
    expect(new Set(together.map(({ kind }) => kind))).toEqual(new Set(['unauthorized']));
    expect((await send()).kind).toBe('unauthorized');
    expect(await send()).toMatchObject({
      kind: 'blocked',
      reason: expect.stringContaining('compare the issuer and audience that MLflow expects'),
    });
    isRefusing = false;
    expect(await send()).toEqual(DELIVERED);
    isRefusing = true;
    expect((await send()).kind).toBe('unauthorized');
  });

  it('that are refused are told by what they say of themselves', async () => {
    const { url } = await upstream((_, response) => {
      sendJson(response, 401, { detail: 'Authentication required' });
      return true;
    });
    const claims = { issuer: undefined, client: 'c', audience: [], groups: ['g'], username: 'u' };
    const tokens = countingTokens();
    tokens.result = { kind: 'token', value: 'token 1', claims };
    const { send } = destination(url, {}, tokens);
    const reason = expect.stringContaining('not taken: it has no aud claim') as string;
    expect(await send()).toMatchObject({ kind: 'unauthorized', reason });
    await send();
    expect(await send()).toMatchObject({
      kind: 'blocked',
      reason: expect.stringContaining('nor were the 2 before it: it has no aud claim') as string,
    });
  });

  it('are missing where the upstream wants them', async () => {
    const { url } = await upstream((_, response) => {
      sendJson(response, 401, { detail: 'Authentication required' });
      return true;
    });
    expect(await destination(url).send()).toMatchObject({
      kind: 'blocked',
      reason: expect.stringContaining('set auth of mlflow'),
    });
  });
});
