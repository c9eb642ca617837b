import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createClientCredentials } from '../../src/auth/client-credentials.ts';
import type { ClientCredentialsOptions } from '../../src/auth/client-credentials.ts';
import type { TokenResult, TokenSource } from '../../src/auth/token-source.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { startOidcProvider } from '../stack/oidc-provider.ts';
import type { OidcProvider } from '../stack/oidc-provider.ts';
import { issuerOptions, memoryLog } from './support.ts';

/* Against a real OpenID provider, over real sockets. */

// Tokens of two seconds are waited out, also where the machine is busy.
vi.setConfig({ testTimeout: 60_000 });

const SECRET = 'a very secret + value/with:odd%characters';
const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function provider(tokenLifetime: number): Promise<OidcProvider> {
  const oidc = await startOidcProvider({
    port: 0,
    tokenLifetime,
    services: [{ clientId: 'relay', secret: SECRET, username: 'relay' }],
  });
  ends.push(() => oidc.stop());
  return oidc;
}

function source(oidc: OidcProvider, changes: Partial<ClientCredentialsOptions> = {}) {
  const { log, lines } = memoryLog();
  const metrics = createMetrics();
  const tokens = createClientCredentials(
    {
      destination: 'mlflow',
      ...issuerOptions(oidc.issuer),
      clientSecret: () => Promise.resolve(SECRET),
      ...changes,
    },
    { log, metrics },
  );
  ends.push(() => tokens.close());
  const count = async (result: string) =>
    (await metrics.tokenRequests.get()).values.find(({ labels }) => labels.result === result)?.value ?? 0;
  return { tokens, lines, count };
}

function valueOf(result: TokenResult): string {
  if (result.kind !== 'token') throw new Error(result.reason);
  return result.value;
}

/** Asks again and again until the answer is of this kind. */
async function until(tokens: TokenSource, kind: TokenResult['kind']): Promise<TokenResult> {
  for (;;) {
    const result = await tokens.token();
    if (result.kind === kind) return result;
    await pause(10);
  }
}

it('fetches one token however many ask, and knows when it ends', async () => {
  const oidc = await provider(300);
  const { tokens, lines, count } = source(oidc);
  expect(tokens.expiresAt()).toBeUndefined();

  const before = Date.now();
  const values = (await Promise.all(Array.from({ length: 100 }, () => tokens.token()))).map(valueOf);
  const after = Date.now();

  expect(new Set(values).size).toBe(1);
  expect(oidc.tokenRequests()).toBe(1);
  expect(await count('token')).toBe(1);
  expect(tokens.expiresAt()).toBeGreaterThanOrEqual(before + 300_000 - 1);
  expect(tokens.expiresAt()).toBeLessThanOrEqual(after + 300_000 + 1);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({
    msg: 'first access token',
    destination: 'mlflow',
    issuer: oidc.issuer,
    clientId: 'relay',
    lifetimeSeconds: 300,
  });
  const payload = JSON.parse(Buffer.from(values[0]?.split('.')[1] ?? '', 'base64url').toString());
  expect(payload).toMatchObject({ iss: oidc.issuer, client_id: 'relay' });
});

it('says what the token says of itself, to its user and once in the log', async () => {
  const oidc = await provider(300);
  const { tokens, lines } = source(oidc);
  const said = { username: 'relay', audience: ['mlflow'], groups: ['mlflow'] };
  const claims = { ...said, issuer: oidc.issuer, client: 'relay' };
  expect(await tokens.token()).toMatchObject({ kind: 'token', claims });
  expect(await tokens.token()).toMatchObject({ kind: 'token', claims });
  expect(lines).toEqual([expect.objectContaining(said)]);
});

it('takes a discovery URL in place of the issuer', async () => {
  const oidc = await provider(300);
  const { tokens } = source(oidc, { issuer: undefined, discoveryUrl: oidc.discoveryUrl });
  expect((await tokens.token()).kind).toBe('token');
});

it('renews short tokens in time, one request each, without ever being without', async () => {
  const oidc = await provider(2);
  const { tokens } = source(oidc);
  const seen = new Set<string>();
  while (seen.size < 3) {
    seen.add(valueOf(await tokens.token()));
    await pause(5);
  }
  // The last refresh may have been asked for already.
  expect(oidc.tokenRequests() - seen.size).toBeLessThanOrEqual(1);
});

it('asks nothing while no token is wanted', async () => {
  const oidc = await provider(2);
  const { tokens } = source(oidc);
  await tokens.token();
  while (tokens.expiresAt() !== undefined) await pause(50);
  expect(oidc.tokenRequests()).toBe(1);
  expect((await tokens.token()).kind).toBe('token');
  expect(oidc.tokenRequests()).toBe(2);
});

/** Stops the clock of the tokens, which then goes by this alone. */
function stoppedClock(): { now: number } {
  const clock = { now: performance.now() };
  vi.spyOn(performance, 'now').mockImplementation(() => clock.now);
  ends.push(async () => void vi.restoreAllMocks());
  return clock;
}

it('hands out a valid token while the issuer is away, does not hammer it, and recovers', async () => {
  const clock = stoppedClock();
  const oidc = await provider(300);
  const { tokens, lines, count } = source(oidc);
  const value = valueOf(await tokens.token());
  await oidc.stop();

  clock.now += 0.85 * 300_000;
  while ((await count('unavailable')) === 0) {
    expect(valueOf(await tokens.token())).toBe(value);
    await pause(5);
  }
  for (let i = 0; i < 50; i++) expect(valueOf(await tokens.token())).toBe(value);
  expect(await count('unavailable')).toBe(1);

  clock.now += 0.14 * 300_000;
  for (let i = 0; i < 50; i++) {
    expect(await tokens.token()).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining('nothing listens at'),
    });
  }
  expect(await count('unavailable')).toBe(2);
  expect(lines.filter(({ level }) => level === 40)).toHaveLength(1);

  await oidc.start();
  clock.now += 15_000;
  expect(valueOf(await until(tokens, 'token'))).not.toBe(value);
  expect(lines.at(-1)).toMatchObject({ msg: 'access tokens come again' });
});

it('asks an issuer that is away for no more than its metadata, twice a second, and has a token once it is back', async () => {
  const clock = stoppedClock();
  const oidc = await provider(300);
  await oidc.stop();
  const { tokens, count } = source(oidc);
  for (let tenth = 0; tenth < 600; tenth++) {
    expect((await tokens.token()).kind).toBe('unavailable');
    clock.now += 100;
  }
  expect(await count('unavailable')).toBeGreaterThan(100);
  expect(await count('unavailable')).toBeLessThanOrEqual(150);
  await oidc.start();
  clock.now += 500;
  expect((await tokens.token()).kind).toBe('token');
});

it('starts while the issuer is away', async () => {
  const oidc = await provider(300);
  await oidc.stop();
  const { tokens } = source(oidc);
  expect((await tokens.token()).kind).toBe('unavailable');
  await oidc.start();
  await until(tokens, 'token');
});

describe('drop', () => {
  it('leads to one fresh token, which a late drop of the old one leaves alone', async () => {
    const oidc = await provider(300);
    const { tokens } = source(oidc);
    const first = valueOf(await tokens.token());

    const values = await Promise.all(
      Array.from({ length: 20 }, async () => {
        tokens.drop(first);
        return valueOf(await tokens.token());
      }),
    );
    tokens.drop(first);

    expect(new Set(values).size).toBe(1);
    expect(values[0]).not.toBe(first);
    expect(valueOf(await tokens.token())).toBe(values[0]);
    expect(oidc.tokenRequests()).toBe(2);
  });

  it('leads to no more than a token a second when every one is refused', async () => {
    const clock = stoppedClock();
    const oidc = await provider(300);
    const { tokens } = source(oidc);
    // The second comes at once: the first may have been spoiled by a passing fault.
    tokens.drop(valueOf(await tokens.token()));
    for (const requests of [2, 3, 4]) {
      tokens.drop(valueOf(await tokens.token()));
      expect(oidc.tokenRequests()).toBe(requests);
      expect(tokens.expiresAt()).toBeUndefined();
      clock.now += 999;
      expect(await tokens.token()).toMatchObject({
        kind: 'unavailable',
        reason: expect.stringContaining('refuses'),
      });
      clock.now += 1;
    }
    expect(oidc.tokenRequests()).toBe(4);
  });
});

describe('a secret that the issuer refuses', () => {
  it('is said once, never shown, and a corrected one is used at once', async () => {
    const oidc = await provider(300);
    let secret = 'wrong secret 123';
    const { tokens, lines, count } = source(oidc, { clientSecret: () => Promise.resolve(secret) });

    const result = await tokens.token();
    expect(result).toMatchObject({ kind: 'rejected', reason: expect.stringContaining('invalid_client') });
    expect(result).toMatchObject({
      reason: expect.stringContaining('check client_id and client_secret_file'),
    });
    for (let i = 0; i < 50; i++) expect(await tokens.token()).toEqual(result);
    expect(await count('rejected')).toBeLessThan(10);

    const refused = oidc.tokenRequests();
    secret = SECRET;
    expect((await Promise.all([tokens.token(), tokens.token()])).map(({ kind }) => kind)).toEqual([
      'token',
      'token',
    ]);
    expect(oidc.tokenRequests()).toBe(refused + 1);
    const written = JSON.stringify(lines);
    expect(written).not.toContain('wrong secret');
    expect(written).not.toContain(valueOf(await tokens.token()));
    expect(lines.filter(({ level }) => level === 50)).toHaveLength(1);
  });

  it('rotated at the issuer while a token is good: that one is used to its end', async () => {
    const oidc = await provider(300);
    let secret = SECRET;
    const { tokens } = source(oidc, { clientSecret: () => Promise.resolve(secret) });
    const first = valueOf(await tokens.token());
    oidc.setSecret('relay', 'the new one');
    expect(valueOf(await tokens.token())).toBe(first);

    tokens.drop(first);
    expect((await tokens.token()).kind).toBe('rejected');
    secret = 'the new one';
    expect(valueOf(await tokens.token())).not.toBe(first);
  });

  it('cannot be read: says so, and goes on when it can', async () => {
    const oidc = await provider(300);
    let readable = false;
    const { tokens } = source(oidc, {
      clientSecret: () =>
        readable ? Promise.resolve(SECRET) : Promise.reject(new Error('cannot read the secret file x')),
    });
    expect(await tokens.token()).toEqual({
      kind: 'rejected',
      reason: 'no access token: cannot read the secret file x',
    });
    readable = true;
    expect((await tokens.token()).kind).toBe('token');
  });
});

it('close ends a request under way', async () => {
  const oidc = await provider(300);
  const { tokens, lines } = source(oidc);
  const asked = tokens.token();
  await tokens.close();
  expect((await asked).kind).toBe('unavailable');
  expect(lines).toHaveLength(0);
});
