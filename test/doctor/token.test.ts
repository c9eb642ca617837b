import { expect, test } from 'vitest';
import { sendJson } from '../auth/support.ts';
import { freePort } from '../stack/processes.ts';
import { auth, diagnose, instead, issuer, mlflow, refuse, refused } from './broken.ts';
import type { Case } from './broken.ts';
import { examineBroken, useShared } from './setting.ts';
import type { Setting } from './setting.ts';

/* What MLflow does not take of the relay: its token, or its traces for an experiment. */

const shared = useShared();

const CASES: Case[] = [
  [
    'an MLflow that takes traces from anybody',
    (setting) =>
      instead(setting, /traces/, (response) =>
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end(),
      ),
    ['warning requests without a token'],
    /takes traces without a token: whoever reaches it can write them/,
    /take \/v1\/traces out of the paths/,
  ],
  [
    'an MLflow that wants a token, and none is configured',
    (setting) => (mlflow(setting).auth = { kind: 'none' }),
    ['failed requests without a token'],
    /it wants to know who asks, and auth is none/,
    /kind: client_credentials/,
  ],
  [
    'an MLflow with users and passwords of its own',
    (setting) =>
      instead(setting, /traces|server-info|experiments/, (response) =>
        response
          .writeHead(401, { 'www-authenticate': 'Basic realm="mlflow"' })
          .end('You are not authenticated. Please see https://www.mlflow.org/docs/ on how to authenticate.'),
      ),
    ['failed token'],
    /has its own users \(--app-name basic-auth\)/,
    /--app-name oidc-auth/,
  ],
  [
    'a token without an audience',
    (setting) => refused(setting, { aud: undefined }),
    ['failed token', 'failed token audience'],
    /MLflow does not take the token/,
    /it has no aud claim: add an audience mapper/,
  ],
  [
    'a token without a user name',
    (setting) => refused(setting, { preferred_username: undefined }),
    ['failed token', 'failed token user name'],
    /MLflow does not take the token/,
    /neither an email nor a preferred_username claim/,
  ],
  [
    'a token without groups',
    (setting) => refused(setting, { groups: undefined }),
    ['failed token', 'failed token groups'],
    /MLflow does not take the token/,
    /it has no groups claim/,
  ],
  [
    'a token with no group in its groups',
    (setting) => {
      auth(setting)['client_id'] = 'no-groups';
      instead(setting, /traces|server-info|experiments/, refuse);
    },
    ['failed token', 'failed token groups'],
    /MLflow does not take the token/,
    /its groups claim is empty/,
  ],
  [
    'a token with groups by their paths',
    (setting) => (auth(setting)['client_id'] = 'full-paths'),
    ['warning token groups'],
    /its groups claim has full paths \("\/mlflow"\)/,
    /turn "Full group path" off .*if MLflow takes the token, this can stay/,
  ],
  [
    'groups by their paths, where MLflow cannot be asked',
    async (setting) => {
      auth(setting)['client_id'] = 'full-paths';
      mlflow(setting).url = `http://127.0.0.1:${await freePort()}`;
    },
    ['failed MLflow connection', 'warning token groups'],
    /nothing listens/,
    /see that it runs/,
  ],
  [
    'a token from the future',
    (setting) => {
      shared.oidc.setClockAhead(60);
      instead(setting, /traces|server-info|experiments/, refuse);
    },
    ['warning issuer clock', 'warning token times', 'failed token'],
    /^its token shows that the clock of the issuer is (59|60) s ahead/,
    /set the clocks/,
  ],
  [
    'a token that is no JWT',
    async (setting) => {
      await issuer(setting, {});
      instead(setting, /traces|server-info|experiments/, refuse);
    },
    ['failed token', 'failed token audience', 'failed token user name', 'failed token groups'],
    /MLflow does not take the token/,
    /compare the issuer and audience/,
  ],
  [
    'an experiment that is not there',
    (setting) => (mlflow(setting).experiment = { id: '7' }),
    ['failed experiment'],
    /experiment 7 does not exist there/,
    /set experiment to the id, or name, of one that is there/,
  ],
  [
    'an experiment of a name that is not there yet',
    (setting) => (mlflow(setting).experiment = { name: 'tarces' }),
    ['warning experiment'],
    /experiment "tarces" is not there, .*the relay makes it/,
    /if it should be there, correct experiment/,
  ],
  [
    'an experiment that the account may not write',
    (setting) =>
      instead(setting, /POST \/v1\/traces/, (response, isKnown) =>
        isKnown ? response.writeHead(403).end('Permission denied') : refuse(response),
      ),
    ['failed permission'],
    /answers 403 .*needs EDIT on experiment/,
    /^give the service account service-account-relay EDIT or MANAGE on experiment "traces"/,
  ],
  [
    "a proxy that forbids MLflow's REST API",
    (setting) =>
      instead(setting, /GET get-by-name/, (response) =>
        response.writeHead(403, { 'content-type': 'text/html' }).end('<html>Forbidden</html>'),
      ),
    ['failed experiment'],
    /answers 403 .*a proxy or firewall before MLflow does not let the request through/,
    /^see MLflow's log, and that of what stands before it$/,
  ],
];

test.each(CASES)('%s', async (...broken) => {
  expect(await diagnose(shared, broken)).toEqual(broken[2]);
});

test('what needs something that has failed is skipped, and says for what', async () => {
  const { checks } = await examineBroken(shared, ({ write }) => write('secret', 'wrong'));
  const skipped = Object.fromEntries(
    checks.filter(({ state }) => state === 'skipped').map(({ name, words }) => [name, words]),
  );
  expect(skipped).toMatchObject({
    'token lifetime': 'needs "client authentication"',
    'OTLP route': 'needs "client authentication"',
    token: 'needs "OTLP route"',
    permission: 'needs "experiment"',
  });
  // What can be asked without a token is asked all the same.
  expect(checks.find(({ name }) => name === 'MLflow health')?.state).toBe('ok');
});

test.each<[string, (setting: Setting) => unknown, Record<string, string>]>([
  [
    'nothing listens',
    async (setting) => (mlflow(setting).url = `http://127.0.0.1:${await freePort()}`),
    {
      'MLflow clock': 'skipped: needs "MLflow health"',
      'token times': 'skipped: needs "MLflow health"',
      'token user name': 'ok: the token names the relay service-account-relay',
    },
  ],
  [
    'another server has the address',
    (setting) => instead(setting, /./, (response) => sendJson(response, 404, { error: 'not found' })),
    {
      'MLflow clock': 'skipped: needs "OTLP route"',
      'token times': 'skipped: needs "OTLP route"',
      'token user name': 'ok: the token names the relay service-account-relay',
    },
  ],
  [
    'another server, which is well, has the address',
    (setting) => instead(setting, /POST/, (response) => response.writeHead(404).end()),
    {
      'MLflow health': 'ok: MLflow is well',
      'MLflow clock': 'skipped: needs "OTLP route"',
      'token times': 'skipped: needs "OTLP route"',
    },
  ],
  [
    'MLflow does not say whether the experiment is there',
    (setting) => {
      mlflow(setting).experiment = { id: '777' };
      instead(setting, /v1\/traces|GET get$/, (response) => response.writeHead(403).end('Permission denied'));
    },
    {
      'MLflow clock': 'ok: MLflow and this machine have the same time',
      experiment:
        'skipped: MLflow does not show experiment 777 to the service account service-account-relay, be it there or not; "permission" tells whether it can be written',
      permission: expect.stringMatching(/^failed: .* needs EDIT on experiment 777/) as string,
    },
  ],
  [
    'MLflow shows the experiment',
    (setting) => (mlflow(setting).experiment = { id: '1' }),
    {
      'token times': 'ok: MLflow and the issuer have the same time',
      experiment: 'ok: experiment 1 is there',
      permission: 'ok: the service account service-account-relay may write experiment 1',
    },
  ],
])('nothing is said of MLflow that is not known: %s', async (_, breakIt, said) => {
  const { checks } = await examineBroken(shared, breakIt);
  expect(
    Object.fromEntries(checks.map(({ name, state, words }) => [name, `${state}: ${words}`])),
  ).toMatchObject(said);
});

test('a token that is some seconds too young for MLflow is given the time', async () => {
  const behind = 2_000;
  let refusals = 0;
  const { checks } = await examineBroken(shared, (setting) => {
    setting.answer = ({ headers }, response) => {
      const time = Date.now() - behind;
      response.setHeader('date', new Date(time).toUTCString());
      const claims = Buffer.from(headers.authorization?.split('.')[1] ?? '', 'base64url').toString();
      const isEarly = claims !== '' && (JSON.parse(claims) as { iat: number }).iat * 1000 > time;
      if (isEarly) {
        refusals += 1;
        refuse(response);
      }
      return isEarly;
    };
  });
  expect(refusals).toBeGreaterThan(0);
  expect(checks.filter(({ state }) => state === 'failed')).toEqual([]);
  expect(checks.find(({ name }) => name === 'token')?.words).toMatch(/^MLflow takes it/);
});
