import { expect, it } from 'vitest';
import { oauth2ProxyRemedy } from '../../src/destinations/oauth2-proxy.ts';

/* By the texts of oauth2-proxy 7.8.1; the program itself answers in test/e2e/token-proxies.test.ts. */

const JSON_TYPE = 'application/json';
const HTML = 'text/html; charset=utf-8';
const STYLE = '<link rel="stylesheet" href="/oauth2/static/css/bulma.min.css">';
const ISSUER =
  'https://issuer.example/auth?client_id=mlflow&redirect_uri=https%3A%2F%2Fmlflow.example%2Foauth2%2Fcallback';

const NOT_TAKEN = expect.stringContaining('--skip-jwt-bearer-tokens alone') as string;
const NOT_LET_IN = expect.stringContaining('--allowed-group') as string;

it.each<[string, number, string | undefined, string, string | undefined, string | undefined]>([
  ['JSON', 401, JSON_TYPE, '{}', undefined, NOT_TAKEN],
  ['its sign-in page', 403, HTML, `${STYLE}<form action="/oauth2/start">`, undefined, NOT_TAKEN],
  ['a way to the issuer', 302, undefined, '', ISSUER, NOT_TAKEN],
  ['a way to its own login', 302, HTML, '', '/oauth2/start?rd=%2F', NOT_TAKEN],
  ['its error page', 403, HTML, `${STYLE}<form action="/oauth2/sign_in">`, undefined, NOT_LET_IN],
  ['JSON that says more', 401, JSON_TYPE, '{"detail":"Authentication required"}', undefined, undefined],
  ['JSON with a character set', 401, 'application/json; charset=utf-8', '{}', undefined, undefined],
  ['an empty page', 401, HTML, '', undefined, undefined],
  ['a page of others', 403, HTML, '<title>Forbidden</title>', undefined, undefined],
  ['a way to another login', 302, undefined, '', 'https://issuer.example/%', undefined],
  ['a way to nowhere', 302, undefined, '', undefined, undefined],
  ['another status', 200, JSON_TYPE, '{}', undefined, undefined],
])('%s', (_, status, contentType, body, location, remedy) => {
  const answer = { status, contentType, location, body: Buffer.from(body) };
  expect(oauth2ProxyRemedy(answer)).toEqual(remedy);
});
