import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { sendHtml, sendJson } from '../auth/support.ts';
import { freePort } from '../stack/processes.ts';
import { diagnose, endingSoon, instead, mlflow, overTls } from './broken.ts';
import type { Case } from './broken.ts';
import { useShared } from './setting.ts';
import type { Setting } from './setting.ts';

/*
 * What is wrong on the way to MLflow: in its place stand servers that answer as what is before it does, or as older ones
 * do. What the real one answers, test/e2e/doctor.test.ts shows.
 */

const shared = useShared();

/** It names the same MLflow as the first. */
function besideAnother({ config }: Setting): void {
  const { mlflow: first } = config.destinations;
  Object.assign(config.destinations, { second: { ...first, experiment: { id: '1' }, url: `${first.url}/` } });
}

const CASES: Case[] = [
  [
    'an MLflow whose name does not resolve',
    (setting) => (mlflow(setting).url = 'https://mlflow.invalid'),
    ['failed MLflow address'],
    /mlflow\.invalid/,
    /correct destinations\.mlflow\.url, or the DNS/,
  ],
  [
    'an MLflow that is not there',
    async (setting) => (mlflow(setting).url = `http://127.0.0.1:${await freePort()}`),
    ['failed MLflow connection'],
    /nothing listens/,
    /see that it runs .*or correct destinations\.mlflow\.url/,
  ],
  [
    'an MLflow that does not answer in time',
    async (setting) => {
      const server = createServer(() => {});
      await once(server.listen(0, '127.0.0.1'), 'listening');
      onTestFinished(() => void server.close());
      mlflow(setting).url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      mlflow(setting).timeout = '200ms';
    },
    ['failed MLflow connection'],
    /no complete answer .*within 0\.2 s/,
    /let connections from here/,
  ],
  [
    'an MLflow with the certificate of an unknown CA',
    (setting) => overTls(setting, ['127.0.0.1']),
    ['failed MLflow connection'],
    /is not signed by a CA that is trusted here/,
    /^set destinations\.mlflow\.tls\.ca_file to a file/,
  ],
  [
    'an MLflow with a certificate for another name',
    async (setting) => {
      await overTls(setting, ['127.0.0.9']);
      mlflow(setting).tls = { ca_file: 'ca.crt' };
    },
    ['failed MLflow connection'],
    /is for other names/,
    /^give destinations\.mlflow\.url a name of that certificate/,
  ],
  [
    'an MLflow whose certificate ends soon',
    async (setting) => {
      await overTls(setting, [], await endingSoon(setting));
      mlflow(setting).tls = { ca_file: 'ca.crt' };
    },
    ['warning MLflow certificate', 'failed OTLP route'],
    /^the certificate mlflow in the chain of 127\.0\.0\.1:\d+ ends soon, \d{4}-/,
    /^have it renewed at 127\.0\.0\.1:\d+$/,
  ],
  [
    'an MLflow that wants a client certificate',
    async (setting) => {
      await overTls(setting, ['127.0.0.1'], {
        requestCert: true,
        rejectUnauthorized: true,
        ca: shared.ca.certPem,
      });
      mlflow(setting).tls = { ca_file: 'ca.crt' };
    },
    ['failed MLflow connection'],
    /refused the TLS handshake|closed the connection/,
    /set destinations\.mlflow\.tls\.cert_file|see that it runs/,
  ],
  [
    'https where MLflow speaks none',
    (setting) => (mlflow(setting).url = mlflow(setting).url.replace('http:', 'https:')),
    ['failed MLflow connection'],
    /does not speak TLS/,
    /^correct the scheme or port of destinations\.mlflow\.url/,
  ],
  [
    'a CA file for MLflow without a certificate',
    (setting) => {
      setting.write('mlflow-ca.crt', 'no PEM');
      mlflow(setting).tls = { ca_file: 'mlflow-ca.crt' };
    },
    ['failed TLS files'],
    /destinations\.mlflow\.tls\.ca_file: \S+mlflow-ca\.crt holds no certificate/,
    /give certificates in PEM/,
  ],
  [
    'a client certificate that is for servers',
    async (setting) => {
      const { certPem, keyPem } = await shared.ca.issue({ commonName: 'c', usage: 'server' });
      setting.write('client.crt', certPem);
      setting.write('client.key', keyPem);
      mlflow(setting).tls = { cert_file: 'client.crt', key_file: 'client.key' };
    },
    ['failed client certificate'],
    /may not be used for clientAuth/,
    /usages: \[client auth\]/,
  ],
  [
    'an address that redirects to https',
    (setting) =>
      instead(setting, /./, (response) =>
        response.writeHead(308, { location: 'https://mlflow.example/health' }).end(),
      ),
    ['failed MLflow connection'],
    /redirects to https:\/\/mlflow\.example\/health \(308\), which the relay does not follow/,
    /^set destinations\.mlflow\.url to https:\/\/mlflow\.example$/,
  ],
  [
    'a login that requests are redirected to',
    (setting) =>
      instead(setting, /./, (response) =>
        response.writeHead(302, { location: 'https://login.example/oauth2/start?rd=1' }).end(),
      ),
    ['failed MLflow connection'],
    /redirects to https:\/\/login\.example\/oauth2\/start \(302\)/,
    /oauth2-proxy: --skip-jwt-bearer-tokens/,
  ],
  [
    'a login page with status 200',
    (setting) => instead(setting, /./, (response) => sendHtml(response, 200)),
    ['failed MLflow health', 'failed OTLP route'],
    /answers 200 \(a page of HTML\): that is not MLflow/,
    /let requests with a bearer token through/,
  ],
  [
    'a login page in the place of the OTLP route alone',
    (setting) => instead(setting, /traces/, (response) => sendHtml(response, 200)),
    ['failed OTLP route'],
    /answers 200 without an OTLP response \(a page of HTML: is it a login page\?\)/,
    /let requests with a bearer token through/,
  ],
  [
    'a redirect of the OTLP route alone',
    (setting) =>
      instead(setting, /traces/, (response) =>
        response.writeHead(301, { location: '/mlflow/v1/traces' }).end(),
      ),
    ['failed OTLP route'],
    /redirects to http:\S+\/mlflow\/v1\/traces/,
    /^set destinations\.mlflow\.url to http:\/\/127\.0\.0\.1:\d+\/mlflow$/,
  ],
  [
    'a path below which MLflow is not',
    (setting) => (mlflow(setting).url += '/mlflow'),
    ['warning MLflow health', 'failed OTLP route'],
    /\/mlflow\/health answers 404/,
    /give destinations\.mlflow\.url the address at which MLflow itself answers/,
  ],
  [
    'an MLflow that is too old',
    (setting) => {
      setting.answer = ({ what }, response) => {
        if (what !== 'GET /version' && what !== 'POST /v1/traces') return false;
        response.writeHead(what === 'GET /version' ? 200 : 404).end('3.4.0');
        return true;
      };
    },
    ['failed MLflow version', 'failed OTLP route'],
    /MLflow is 3\.4\.0, which takes no OTLP traces/,
    /upgrade it to 3\.6/,
  ],
  [
    'another destination with another experiment of an MLflow 3.17',
    (setting) => {
      besideAnother(setting);
      instead(setting, /version/, (response) => response.writeHead(200).end('3.17.2'));
    },
    ['warning other destinations', 'warning other destinations'],
    /^destinations mlflow and second get the same traces .*: MLflow is 3\.17, so that the spans of the one that comes later are stored in/,
    /^leave one of them out, or give it an MLflow of its own$/,
  ],
  [
    'another destination with another experiment of an MLflow 3.18',
    (setting) => {
      besideAnother(setting);
    },
    ['warning other destinations', 'warning other destinations'],
    /: MLflow is 3\.18, so that the one that comes later is refused the trace/,
    /^leave one of them out, or give it an MLflow of its own$/,
  ],
  [
    'another destination with another experiment of an MLflow that does not tell its version',
    (setting) => {
      besideAnother(setting);
      instead(setting, /version/, (response) => response.writeHead(404).end());
    },
    ['warning other destinations', 'warning other destinations'],
    /: from 3\.18 on .* is refused .*; before 3\.18 /,
    /^leave one of them out, or give it an MLflow of its own$/,
  ],
  [
    'an OTLP route that takes no POST',
    (setting) =>
      instead(setting, /traces/, (response) => sendJson(response, 405, { detail: 'Method Not Allowed' })),
    ['failed OTLP route'],
    /answers 405/,
    /run by uvicorn/,
  ],
  [
    'an MLflow that keeps its data in files',
    (setting) => {
      setting.answer = ({ what }, response) => {
        if (what.endsWith('server-info')) sendJson(response, 200, { store_type: 'FileStore' });
        else if (what.endsWith('traces')) sendJson(response, 501, { detail: 'not supported by the store' });
        else return false;
        return true;
      };
    },
    ['failed MLflow store', 'failed OTLP route'],
    /keeps what it has in files/,
    /--backend-store-uri/,
  ],
  [
    'an MLflow that is not well',
    (setting) => instead(setting, /health/, (response) => response.writeHead(503).end('upstream is down')),
    ['failed MLflow health'],
    /answers 503 \(upstream is down\)/,
    /see MLflow's log/,
  ],
  [
    'an mlflow-oidc-auth without its database',
    (setting) => {
      setting.answer = ({ what }, response) => {
        if (what === 'GET /health') sendJson(response, 200, { status: 'ok' });
        else if (what !== 'GET /health/ready') return false;
        else sendJson(response, 503, { status: 'not_ready', checks: { oidc: true, database: false } });
        return true;
      };
    },
    ['failed MLflow health'],
    /mlflow-oidc-auth is not ready: database/,
    /OIDC_USERS_DB_URI/,
  ],
];

test.each(CASES)('%s', async (...broken) => {
  expect(await diagnose(shared, broken)).toEqual(broken[2]);
});
