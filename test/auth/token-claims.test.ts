import { expect, it } from 'vitest';
import { readClaims } from '../../src/auth/token-claims.ts';

/** As an issuer would write it, but for the signature. */
function jwt(payload: unknown): string {
  return `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(payload)}.c2lnbmF0dXJl`;
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

const NOTHING = {
  issuer: undefined,
  client: undefined,
  audience: [],
  groups: undefined,
  username: undefined,
};

it('reads what Keycloak writes', () => {
  const token = jwt({
    iss: 'https://keycloak.example.com/realms/mlflow',
    aud: 'mlflow',
    azp: 'otel-relay',
    groups: ['mlflow'],
    preferred_username: 'service-account-otel-relay',
  });
  expect(readClaims(token)).toEqual({
    issuer: 'https://keycloak.example.com/realms/mlflow',
    client: 'otel-relay',
    audience: ['mlflow'],
    groups: ['mlflow'],
    username: 'service-account-otel-relay',
  });
});

it.each([
  ['no claims', {}, {}],
  ['lists and single values', { aud: ['a', 'b'], groups: 'c' }, { audience: ['a', 'b'], groups: ['c'] }],
  ['empty ones', { aud: [], groups: [], iss: ' ', email: '' }, { groups: [] }],
  ['values of other kinds', { aud: [1, null, 'a'], groups: { a: 1 }, iss: 7 }, { audience: ['a'] }],
  ['client_id before azp', { client_id: 'c', azp: 'z' }, { client: 'c' }],
  ['email before preferred_username', { email: 'e@x', preferred_username: 'p' }, { username: 'e@x' }],
  ['preferred_username for an empty email', { email: ' ', preferred_username: 'p' }, { username: 'p' }],
  ['line breaks', { groups: ['a\nb\u001b[31m'], iss: 'x\r\ny' }, { groups: ['a b [31m'], issuer: 'x y' }],
])('%s', (_, payload, expected) => {
  expect(readClaims(jwt(payload))).toEqual({ ...NOTHING, ...expected });
});

it('cuts what nobody can read', () => {
  const groups = Array.from({ length: 25 }, (_, serial) => `group ${serial}`);
  const claims = readClaims(jwt({ groups, iss: 'x'.repeat(10_000) }));
  expect(claims?.groups).toHaveLength(21);
  expect(claims?.groups?.at(-1)).toBe('… and 5 more');
  expect(claims?.issuer).toHaveLength(500);
});

it.each([
  ['an opaque token', 'dGhpcyBpcyBub3QgYSBKV1Q'],
  ['an encrypted one', 'a.b.c.d.e'],
  ['two parts', 'a.b'],
  ['a payload that is no JSON', `e30.${Buffer.from('no JSON').toString('base64url')}.x`],
  ['a payload that is a list', jwt([])],
  ['a payload that is null', jwt(null)],
  ['an empty payload', 'e30..x'],
  ['more than any issuer writes', jwt({ filler: 'x'.repeat(300_000) })],
  ['nothing', ''],
])('nothing of %s', (_, token) => {
  expect(readClaims(token)).toBeUndefined();
});
