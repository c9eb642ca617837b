import { afterEach, beforeEach, expect, test } from 'vitest';
import { startOidcProvider } from './oidc-provider.ts';
import type { OidcProvider } from './oidc-provider.ts';

let provider: OidcProvider;
beforeEach(async () => {
  provider = await startOidcProvider({
    port: 0,
    services: [
      { clientId: 'relay', secret: 'first', username: 'service-account-relay', groups: ['mlflow', 'x'] },
    ],
    tokenLifetime: 60,
  });
});
afterEach(() => provider.stop());

function part(token: string, index: number): Record<string, unknown> {
  const text = Buffer.from(token.split('.')[index] ?? '', 'base64url').toString('utf8');
  return JSON.parse(text) as Record<string, unknown>;
}

async function answerTo(secret: string): Promise<number> {
  const response = await fetch(`${provider.issuer}/token`, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(`relay:${secret}`).toString('base64')}`,
      connection: 'close',
    },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  return response.status;
}

test('a service gets what MLflow wants to see in a token', async () => {
  const token = await provider.token('relay');
  expect(part(token, 0)).toMatchObject({ alg: 'RS256' });
  const claims = part(token, 1);
  expect(claims).toMatchObject({
    iss: provider.issuer,
    aud: 'mlflow',
    preferred_username: 'service-account-relay',
    groups: ['mlflow', 'x'],
  });
  expect(Number(claims['exp']) - Number(claims['iat'])).toBe(60);
});

test('lifetime and secret can be changed while it runs, and requests are counted', async () => {
  provider.setTokenLifetime(5);
  const claims = part(await provider.token('relay'), 1);
  expect(Number(claims['exp']) - Number(claims['iat'])).toBe(5);

  expect(await answerTo('first')).toBe(200);
  provider.setSecret('relay', 'second');
  expect(await answerTo('first')).toBe(401);
  expect(await answerTo('second')).toBe(200);
  expect(provider.tokenRequests()).toBe(4);
});

test('stopped it refuses connections, and started again it has the same address and keys', async () => {
  const keys = async () =>
    (await fetch(`${provider.issuer}/jwks`, { headers: { connection: 'close' } })).json();
  const asked = provider.keyRequests();
  const before = await keys();
  expect(provider.keyRequests()).toBe(asked + 1);
  await provider.stop();
  await expect(keys()).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } });
  await provider.start();
  expect(await keys()).toEqual(before);
});
