import { describe, expect, it } from 'vitest';
import type { TokenClaims } from '../../src/auth/token-source.ts';
import { accountWords, refusalWords } from '../../src/destinations/token-words.ts';

const WHOLE: TokenClaims = {
  issuer: 'https://keycloak.example.com/realms/mlflow',
  client: 'otel-relay',
  audience: ['mlflow'],
  groups: ['mlflow'],
  username: 'service-account-otel-relay',
};

const AUDIENCE_WORDS = 'add an audience mapper';
const USERNAME_WORDS = 'add a mapper for the user name';
const GROUPS_WORDS = 'add a group mapper';
const MEMBER_WORDS = 'put the service account into one';
const PATH_WORDS = 'turn "Full group path" off';
const ALL_WORDS = [AUDIENCE_WORDS, USERNAME_WORDS, GROUPS_WORDS, MEMBER_WORDS, PATH_WORDS];

describe('what a refused token lacks', () => {
  it.each<[string, Partial<TokenClaims>, string[]]>([
    ['no audience', { audience: [] }, [AUDIENCE_WORDS]],
    ['no user name', { username: undefined }, [USERNAME_WORDS]],
    ['no groups claim', { groups: undefined }, [GROUPS_WORDS]],
    ['no group', { groups: [] }, [MEMBER_WORDS]],
    ['groups by their paths', { groups: ['/mlflow', '/a/b'] }, [PATH_WORDS]],
    ['one group of many by its path', { groups: ['/mlflow', 'mlflow'] }, []],
    ['no audience and no groups', { audience: [], groups: undefined }, [AUDIENCE_WORDS, GROUPS_WORDS]],
    ['all of it', {}, []],
  ])('%s', (_, changes, expected) => {
    const words = refusalWords({ ...WHOLE, ...changes });
    expect(ALL_WORDS.filter((hint) => words.includes(hint))).toEqual(expected);
    expect(words.includes('the client "otel-relay" at the issuer')).toBe(expected.length > 0);
    // What the token says is not all that there may be.
    expect(words).toContain('signing key');
    expect(words).toContain('database is away');
  });
});

it('tells what the token has, beside the settings to compare it with', () => {
  expect(refusalWords({ ...WHOLE, audience: ['account', 'other'] })).toContain(
    'aud "account", "other" (OIDC_AUDIENCE), groups "mlflow" (OIDC_GROUP_NAME), ' +
      'user name "service-account-otel-relay", issuer "https://keycloak.example.com/realms/mlflow" (OIDC_ISSUER)',
  );
  expect(refusalWords({ ...WHOLE, audience: [] })).toContain('it has groups "mlflow"');
});

it('compares nothing where it has nothing', () => {
  const nothing: TokenClaims = {
    issuer: undefined,
    client: undefined,
    audience: [],
    groups: undefined,
    username: undefined,
  };
  const words = refusalWords(nothing);
  expect(words).toContain('Correct the client at the issuer');
  expect(words).not.toContain('Compare');
});

it('says nothing of a token that tells nothing', () => {
  expect(refusalWords(undefined)).toMatch(/^compare the issuer and audience that MLflow expects/);
});

it('stays short however much the token has', () => {
  const groups = Array.from({ length: 20 }, (_, index) => `${index}${'x'.repeat(400)}`);
  expect(refusalWords({ ...WHOLE, groups, audience: groups }).length).toBeLessThan(1200);
});

it('names the account, where the token does', () => {
  expect(accountWords(WHOLE)).toBe('the service account service-account-otel-relay');
  expect(accountWords({ ...WHOLE, username: undefined })).toBe("the relay's account");
  expect(accountWords(undefined)).toBe("the relay's account");
});
