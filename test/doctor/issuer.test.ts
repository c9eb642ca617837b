import { expect, test } from 'vitest';
import { sendHtml, sendJson } from '../auth/support.ts';
import { freePort } from '../stack/processes.ts';
import { GOOD_CLAIMS, auth, diagnose, endingSoon, issuer, tokenWith } from './broken.ts';
import type { Case } from './broken.ts';
import { useShared } from './setting.ts';

/* What is wrong between relay and issuer: a real OpenID provider, or one that answers as no good one does. */

const shared = useShared();

const CASES: Case[] = [
  [
    'an issuer whose name does not resolve',
    (setting) => (auth(setting)['issuer'] = 'https://issuer.invalid/realms/mlflow'),
    ['failed issuer address'],
    /issuer\.invalid/,
    /correct destinations\.mlflow\.auth\.issuer, or the DNS/,
  ],
  [
    'an issuer that is not there',
    async (setting) => (auth(setting)['issuer'] = `http://127.0.0.1:${await freePort()}`),
    ['failed issuer discovery'],
    /nothing listens at 127\.0\.0\.1:\d+/,
    /see that it runs at 127\.0\.0\.1:\d+ .*or correct destinations\.mlflow\.auth\.issuer/,
  ],
  [
    'an issuer by another name than its own',
    (setting) => (auth(setting)['issuer'] = shared.oidc.issuer.replace('127.0.0.1', 'localhost')),
    ['failed issuer discovery'],
    /calls itself http:\/\/127\.0\.0\.1:\d+, the configuration says http:\/\/localhost/,
    /to the last slash/,
  ],
  [
    'a path below which no issuer is',
    (setting) => (auth(setting)['issuer'] = `${shared.oidc.issuer}/realms/mlflow`),
    ['failed issuer discovery'],
    /\/realms\/mlflow\/\.well-known\/openid-configuration answers 404/,
    /open http:\S+\/realms\/mlflow\/\.well-known\/openid-configuration: it must be/,
  ],
  [
    'a login page in the place of the issuer',
    (setting) => issuer(setting, { metadata: (_, response) => sendHtml(response, 200) }),
    ['failed issuer discovery'],
    /is no OpenID provider metadata/,
    /it must be the issuer's metadata/,
  ],
  [
    'an issuer with the certificate of an unknown CA',
    async (setting) => {
      const { certPem, keyPem } = await shared.ca.issue({
        commonName: 'i',
        ips: ['127.0.0.1'],
        usage: 'server',
      });
      await issuer(setting, { tls: { cert: certPem, key: keyPem } });
    },
    ['failed issuer discovery'],
    /is not signed by a CA that is trusted here/,
    /^set destinations\.mlflow\.auth\.ca_file to a file/,
  ],
  [
    'an issuer whose certificate ends soon',
    async (setting) => {
      await issuer(setting, { tls: await endingSoon(setting), token: tokenWith(GOOD_CLAIMS) });
      auth(setting)['ca_file'] = 'ca.crt';
    },
    ['warning issuer certificate'],
    /^the certificate mlflow in the chain of 127\.0\.0\.1:\d+ ends soon, \d{4}-/,
    /^have it renewed at 127\.0\.0\.1:\d+$/,
  ],
  [
    'an issuer that does not answer in time',
    async (setting) => {
      await issuer(setting, { metadata: () => {} });
      auth(setting)['timeout'] = '200ms';
    },
    ['failed issuer discovery'],
    /no complete answer from 127\.0\.0\.1:\d+ within 0\.2 s/,
    /let connections from here to 127\.0\.0\.1:\d+ through/,
  ],
  [
    'a wrong client secret',
    ({ write }) => write('secret', 'wrong'),
    ['failed client authentication'],
    /refuses the client relay \(invalid_client/,
    /check client_id and client_secret_file/,
  ],
  [
    'a client that the issuer does not know',
    (setting) => (auth(setting)['client_id'] = 'nobody'),
    ['failed client authentication'],
    /refuses the client nobody/,
    /check client_id and client_secret_file/,
  ],
  [
    'a client that may not have tokens of its own',
    (setting) => (auth(setting)['client_id'] = 'mlflow'),
    ['failed client authentication'],
    /refuses the client mlflow \(invalid_request: requested grant type is not allowed/,
    /allow it the client_credentials grant at the issuer/,
  ],
  [
    'a scope that the issuer does not know',
    (setting) =>
      issuer(setting, { token: (_, response) => sendJson(response, 400, { error: 'invalid_scope' }) }),
    ['failed client authentication'],
    /invalid_scope/,
    /check scope/,
  ],
  [
    'tokens that live for seconds',
    () => shared.oidc.setTokenLifetime(5),
    ['warning token lifetime'],
    /tokens live 5 s: the relay asks the issuer for one all the time/,
    /live for five minutes/,
  ],
  [
    'tokens that are over before a slow issuer gives the next',
    () => shared.oidc.setTokenLifetime(40),
    ['warning token lifetime'],
    /tokens live 40 s: the next is fetched with 8 s left, and an answer of the issuer may take 10 s/,
    /live for five minutes/,
  ],
  [
    'an issuer that does not say how long tokens live',
    (setting) => issuer(setting, { token: tokenWith(GOOD_CLAIMS, {}) }),
    ['warning token lifetime'],
    /does not say how long tokens live/,
    /have the issuer say it/,
  ],
  [
    'an issuer whose clock is ahead',
    () => shared.oidc.setClockAhead(120),
    ['warning issuer clock', 'warning token times'],
    /^its token shows that the clock of the issuer is (119|120) s ahead of that of this machine/,
    /set the clocks/,
  ],
  [
    'an issuer whose tokens are over when they come',
    () => shared.oidc.setClockAhead(-400),
    ['warning issuer clock', 'failed token times'],
    /the clock of the issuer is (39\d|400) s behind that of this machine/,
    /set the clocks/,
  ],
];

test.each(CASES)('%s', async (...broken) => {
  expect(await diagnose(shared, broken)).toEqual(broken[2]);
});
