import { afterEach, describe, expect, it, vi } from 'vitest';
import { createClientCredentials } from '../../src/auth/client-credentials.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { issuerOptions, memoryLog, sendJson, startIssuer } from './support.ts';
import type { IssuerBehaviour } from './support.ts';

/* A token that the upstream may not take, though it has not said so: another is fetched, and it stays until then. */

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

/** Its tokens are t1, t2 and so on, unless told otherwise. */
async function setUp(behaviour: IssuerBehaviour = {}) {
  const clock = { now: performance.now() };
  vi.spyOn(performance, 'now').mockImplementation(() => clock.now);
  ends.push(async () => void vi.restoreAllMocks());
  const issuer = await startIssuer(behaviour);
  ends.push(() => issuer.stop());
  const tokens = createClientCredentials(
    { destination: 'mlflow', ...issuerOptions(issuer.url), clientSecret: () => Promise.resolve('secret') },
    { log: memoryLog().log, metrics: createMetrics() },
  );
  ends.push(() => tokens.close());
  const value = async () => {
    const result = await tokens.token();
    return result.kind === 'token' ? result.value : result.kind;
  };
  return { clock, tokens, value, requests: () => issuer.asked.token, issuer };
}

describe('a token in doubt', () => {
  it('is replaced once, however many doubt it and ask', async () => {
    const { tokens, value, requests } = await setUp();
    const first = await value();
    const values = await Promise.all(
      Array.from({ length: 20 }, () => {
        tokens.doubt(first);
        return value();
      }),
    );
    tokens.doubt(first);
    expect([first, ...new Set(values), await value()]).toEqual(['t1', 't2', 't2']);
    expect(requests()).toBe(2);
  });

  it('is replaced no more often than once a second, and is used meanwhile', async () => {
    const { clock, tokens, value, requests } = await setUp();
    tokens.doubt(await value());
    // The second comes at once, as after a refusal.
    for (const current of ['t2', 't3', 't4']) {
      expect(await value()).toBe(current);
      tokens.doubt(current);
      clock.now += 999;
      expect(await value()).toBe(current);
      clock.now += 1;
    }
    expect(requests()).toBe(4);
  });

  it('is used on where the issuer has no other, which is asked once for each doubt', async () => {
    let isFailing = false;
    const { clock, tokens, value, requests, issuer } = await setUp({
      token: (_, response) =>
        isFailing
          ? sendJson(response, 503, {})
          : sendJson(response, 200, {
              access_token: `t${issuer.asked.token}`,
              token_type: 'Bearer',
              expires_in: 300,
            }),
    });
    await value();
    isFailing = true;
    for (let doubts = 1; doubts <= 3; doubts++) {
      tokens.doubt('t1');
      // Longer than an issuer that fails is left alone, and far from the end of the token.
      clock.now += 20_000;
      for (let i = 0; i < 10; i++) expect(await value()).toBe('t1');
      expect(requests()).toBe(1 + doubts);
    }
    isFailing = false;
    tokens.doubt('t1');
    clock.now += 20_000;
    expect(await value()).toBe('t5');
  });

  it('that the issuer gives again is not asked for again by itself', async () => {
    const { tokens, value, requests } = await setUp({
      token: (_, response) =>
        sendJson(response, 200, { access_token: 'same', token_type: 'Bearer', expires_in: 300 }),
    });
    tokens.doubt(await value());
    for (let i = 0; i < 10; i++) expect(await value()).toBe('same');
    expect(requests()).toBe(2);
  });
});
