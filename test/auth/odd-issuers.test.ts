import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createClientCredentials } from '../../src/auth/client-credentials.ts';
import type { ClientCredentialsOptions } from '../../src/auth/client-credentials.ts';
import { byClientCredentials } from '../../src/auth/grants.ts';
import { createIssuerClient } from '../../src/auth/issuer-client.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import {
  issuerOptions,
  keepOpen,
  memoryLog,
  sendHtml,
  sendJson,
  startIssuer,
  startServer,
} from './support.ts';
import type { IssuerBehaviour } from './support.ts';

/* Issuers that answer what a good one does not. */

// Above the deadlines of what is polled for.
vi.setConfig({ testTimeout: 60_000 });

const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function issuer(behaviour: IssuerBehaviour) {
  const started = await startIssuer(behaviour);
  ends.push(() => started.stop());
  return started;
}

function source(url: string, changes: Partial<ClientCredentialsOptions> = {}) {
  const { log, lines } = memoryLog();
  const tokens = createClientCredentials(
    {
      destination: 'mlflow',
      ...issuerOptions(url),
      clientSecret: () => Promise.resolve('s3cret'),
      ...changes,
    },
    { log, metrics: createMetrics() },
  );
  ends.push(() => tokens.close());
  return { tokens, lines };
}

async function issuerCertificates() {
  const ca = await createCertificateAuthority('ca');
  const pair = await ca.issue({ commonName: 'issuer', ips: ['127.0.0.1'], usage: 'server' });
  const caFile = join(await mkdtemp(join(tmpdir(), 'issuer-ca-')), 'ca.crt');
  await writeFile(caFile, ca.certPem);
  return { ca, ...pair, caFile };
}

const answer = (changes: Record<string, unknown>) => ({
  token: ((_, response) =>
    sendJson(response, 200, {
      access_token: 'value',
      token_type: 'Bearer',
      expires_in: 300,
      ...changes,
    })) satisfies IssuerBehaviour['token'],
});

function metadata(changes: Record<string, unknown>): NonNullable<IssuerBehaviour['metadata']> {
  return (request, response) => {
    const url = `http://${request.headers.host}`;
    sendJson(response, 200, { issuer: url, token_endpoint: `${url}/token`, ...changes });
  };
}

it('leaves no connection behind', async () => {
  const closed: Promise<unknown>[] = [];
  const { url } = await issuer({
    metadata: (request, response) => {
      closed.push(once(request.socket, 'close'));
      keepOpen(request);
      const base = `http://${request.headers.host}`;
      const body = { issuer: base, token_endpoint: `${base}/token` };
      sendJson(response, 200, body, { 'keep-alive': 'timeout=600' });
    },
  });
  await createIssuerClient(issuerOptions(url)).discover(AbortSignal.timeout(10_000));
  await Promise.all(closed);
  expect(closed).toHaveLength(1);
});

describe('discovery', () => {
  it.each<[string, NonNullable<IssuerBehaviour['metadata']>, string, string]>([
    [
      '404',
      (_, response) => sendHtml(response, 404),
      'rejected',
      'answers 404: check issuer or discovery_url',
    ],
    ['503', (_, response) => sendHtml(response, 503), 'unavailable', 'answers 503'],
    ['429', (_, response) => sendJson(response, 429, {}), 'unavailable', 'answers 429'],
    [
      'HTML',
      (_, response) => sendHtml(response, 200),
      'rejected',
      'is no OpenID provider metadata (text/html',
    ],
    ['JSON that is none', (_, r) => sendJson(r, 200, [1]), 'rejected', 'is no OpenID provider metadata'],
    ['no issuer', (_, r) => sendJson(r, 200, { token_endpoint: 'x' }), 'rejected', '"issuer" property'],
    [
      'another issuer',
      metadata({ issuer: 'https://other.test' }),
      'rejected',
      'calls itself https://other.test',
    ],
    ['no token endpoint', metadata({ token_endpoint: undefined }), 'rejected', 'names no token_endpoint'],
    [
      'a redirect',
      (_, response) => response.writeHead(302, { location: 'https://login.test/?state=1' }).end(),
      'rejected',
      'redirects to https://login.test/ (302)',
    ],
    [
      'no way to send a secret',
      metadata({ token_endpoint_auth_methods_supported: ['private_key_jwt'] }),
      'rejected',
      'takes no client secrets (token_endpoint_auth_methods_supported: private_key_jwt)',
    ],
    [
      'a token endpoint elsewhere without encryption',
      metadata({ token_endpoint: 'http://elsewhere.test/token' }),
      'rejected',
      'http://elsewhere.test/token, to which nothing goes unencrypted',
    ],
  ])('%s', async (_, behaviour, kind, words) => {
    const { url, asked } = await issuer({ metadata: behaviour });
    const { tokens } = source(url);
    expect(await tokens.token()).toMatchObject({ kind, reason: expect.stringContaining(words) });
    expect(asked).toEqual({ metadata: 1, token: 0 });
  });

  it('sends no secret unencrypted to the host of the issuer either', async () => {
    // The name resolves nowhere: that a request was tried would show in the words.
    const client = createIssuerClient(issuerOptions('https://issuer.example'));
    const found = { issuer: 'https://issuer.example', token_endpoint: 'http://issuer.example/token' };
    await expect(
      byClientCredentials(client, {
        metadata: found,
        secret: 's3cret',
        signal: new AbortController().signal,
      }),
    ).rejects.toMatchObject({
      kind: 'refusal',
      message: expect.stringContaining('http://issuer.example/token, to which nothing goes unencrypted'),
    });

    const { tokens } = source('http://issuer.example');
    expect(await tokens.token()).toMatchObject({
      kind: 'rejected',
      reason: expect.stringContaining(
        'issuer.example/.well-known/openid-configuration, to which nothing goes',
      ),
    });
    const allowed = source('http://issuer.invalid', { allowHttp: true });
    expect(await allowed.tokens.token()).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining('issuer.invalid'),
    });
  });

  it('says where it looked', async () => {
    const { url } = await issuer({ metadata: (_, response) => sendHtml(response, 404) });
    expect(await source(url).tokens.token()).toMatchObject({
      reason: expect.stringContaining(`${url}/.well-known/openid-configuration`),
    });
  });

  it('wants the whole address in discovery_url', async () => {
    const { tokens } = source('', { issuer: undefined, discoveryUrl: 'https://issuer.test/metadata' });
    expect(await tokens.token()).toMatchObject({
      kind: 'rejected',
      reason: expect.stringContaining('discovery_url has no /.well-known/ in it'),
    });
  });

  it('is done once, and again when the token endpoint is not there any more', async () => {
    let path = '/token1';
    const { url, asked } = await issuer({
      metadata: (request, response) => {
        const self = `http://${request.headers.host}`;
        sendJson(response, 200, { issuer: self, token_endpoint: `${self}${path}` });
      },
      token: (_, response, request) => {
        if (request.url !== path) sendHtml(response, 404);
        else
          sendJson(response, 200, { access_token: `t${asked.token}`, token_type: 'bearer', expires_in: 300 });
      },
    });
    const { tokens } = source(url);
    for (const value of ['t1', 't2']) {
      expect(await tokens.token()).toEqual({ kind: 'token', value });
      tokens.drop(value);
      if (value === 't1') continue;
      path = '/token2';
    }
    expect(asked.metadata).toBe(1);
    await expect.poll(() => tokens.token(), { timeout: 30_000 }).toMatchObject({ kind: 'token' });
    expect(asked.metadata).toBe(2);
  });
});

describe('the token request', () => {
  it('authenticates by header, with both parts encoded, and sends what is configured', async () => {
    let seen: unknown;
    const { url } = await issuer({
      token: (form, response, request) => {
        seen = { form: Object.fromEntries(form), authorization: request.headers.authorization };
        sendJson(response, 200, { access_token: 'value', token_type: 'Bearer', expires_in: 60 });
      },
    });
    const { tokens } = source(url, {
      clientId: 'relay:1',
      clientSecret: () => Promise.resolve('ä +/'),
      scope: 'traces',
      audience: 'mlflow',
      resource: 'https://mlflow.test',
    });
    expect((await tokens.token()).kind).toBe('token');
    expect(seen).toEqual({
      form: {
        grant_type: 'client_credentials',
        scope: 'traces',
        audience: 'mlflow',
        resource: 'https://mlflow.test',
      },
      authorization: `Basic ${Buffer.from('relay%3A1:%C3%A4+%2B%2F').toString('base64')}`,
    });
  });

  it('authenticates in the body where that is all the issuer takes', async () => {
    let seen: unknown;
    const { url } = await issuer({
      metadata: (request, response) => {
        const self = `http://${request.headers.host}`;
        sendJson(response, 200, {
          issuer: self,
          token_endpoint: `${self}/token`,
          token_endpoint_auth_methods_supported: ['private_key_jwt', 'client_secret_post'],
        });
      },
      token: (form, response, request) => {
        seen = { form: Object.fromEntries(form), authorization: request.headers.authorization };
        sendJson(response, 200, { access_token: 'value', token_type: 'Bearer', expires_in: 60 });
      },
    });
    expect((await source(url).tokens.token()).kind).toBe('token');
    expect(seen).toEqual({
      form: { grant_type: 'client_credentials', client_id: 'relay', client_secret: 's3cret' },
      authorization: undefined,
    });
  });
});

describe('the token answer', () => {
  it.each<[string, IssuerBehaviour, string, string]>([
    ['ends at once', answer({ expires_in: 0 }), 'rejected', 'end within a second'],
    ['has ended', answer({ expires_in: -5 }), 'rejected', '"expires_in" property'],
    ['ends some time', answer({ expires_in: 'soon' }), 'rejected', '"expires_in" property'],
    ['has no token', answer({ access_token: undefined }), 'rejected', '"access_token" property'],
    ['has another type', answer({ token_type: 'DPoP' }), 'rejected', 'gives dpop tokens, not bearer'],
    ['has an unknown type', answer({ token_type: 'mac' }), 'rejected', 'token_type'],
    [
      'is HTML',
      { token: (_, response) => sendHtml(response, 200) },
      'rejected',
      'is no token answer (text/html',
    ],
    [
      'is a login page',
      { token: (_, response) => sendHtml(response, 403) },
      'rejected',
      'answers 403 without an OAuth error',
    ],
    ['is 500', { token: (_, response) => sendHtml(response, 500) }, 'unavailable', '/token answers 500'],
    [
      'is too long',
      { token: (_, response) => response.writeHead(200).end(Buffer.alloc(2 * 1024 * 1024)) },
      'unavailable',
      'larger than is read here',
    ],
    [
      'is cut',
      {
        token: (_, response) => {
          response.writeHead(200, { 'content-length': '1000' });
          response.write('{');
          setImmediate(() => response.destroy());
        },
      },
      'unavailable',
      'closed the connection before its answer was complete',
    ],
    [
      'refuses the grant',
      {
        token: (_, r) =>
          sendJson(r, 400, { error: 'unauthorized_client', error_description: 'no\nservice account' }),
      },
      'rejected',
      'refuses the client relay (unauthorized_client: no service account); allow it the client_credentials grant',
    ],
    [
      'names the grant in its refusal',
      {
        token: (_, r) =>
          sendJson(r, 403, {
            error: 'unauthorized_client',
            error_description: "Grant type 'client_credentials' not allowed for the client.",
          }),
      },
      'rejected',
      'allow it the client_credentials grant',
    ],
    [
      'calls the client unauthorized for its secret',
      {
        token: (_, r) =>
          sendJson(r, 401, {
            error: 'unauthorized_client',
            error_description: 'Invalid client or Invalid client credentials',
          }),
      },
      'rejected',
      'check client_id and client_secret_file, and that the client is enabled',
    ],
    [
      'refuses by a challenge',
      {
        token: (_, r) =>
          sendJson(
            r,
            401,
            { error: 'invalid_client' },
            { 'www-authenticate': 'Basic realm="x", error="invalid_client"' },
          ),
      },
      'rejected',
      '(invalid_client); check client_id and client_secret_file',
    ],
    [
      'calls a grant that the client may not use an invalid request, as oidc-provider does',
      {
        token: (_, r) =>
          sendJson(r, 400, {
            error: 'invalid_request',
            error_description: 'requested grant type is not allowed for this client',
          }),
      },
      'rejected',
      'allow it the client_credentials grant at the issuer',
    ],
    [
      'gives a token that fits no header',
      answer({ access_token: 'a\r\nx-admin: 1' }),
      'rejected',
      'gives a token that cannot be sent in a header',
    ],
    [
      'tells the secret',
      { token: (_, r) => sendJson(r, 400, { error: 'invalid_request', error_description: 'bad s3cret' }) },
      'rejected',
      'bad [secret]',
    ],
    [
      'asks to wait',
      { token: (_, r) => sendJson(r, 400, { error: 'slow_down' }) },
      'unavailable',
      'slow_down',
    ],
  ])('%s', async (_, behaviour, kind, words) => {
    const { url } = await issuer(behaviour);
    const { tokens, lines } = source(url);
    const result = await tokens.token();
    expect(result).toMatchObject({ kind, reason: expect.stringContaining(words) });
    expect(JSON.stringify(lines)).not.toContain('s3cret');
  });

  it.each<[unknown, number]>([
    [undefined, 60],
    ['120', 120],
    [1e9, 86_400],
  ])('expires_in %j: the token lives %s s', async (expiresIn, seconds) => {
    const { url } = await issuer(answer({ expires_in: expiresIn }));
    const { tokens, lines } = source(url);
    expect((await tokens.token()).kind).toBe('token');
    expect(lines[0]).toMatchObject({ lifetimeSeconds: seconds });
  });

  it('never comes: the deadline ends it', async () => {
    const { url } = await issuer({ token: () => {} });
    const { tokens } = source(url, { timeoutMs: 200 });
    expect(await tokens.token()).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining('within 0.2 s'),
    });
  });

  it('is not HTTP', async () => {
    const server = await startServer((request) => request.socket.end('SSH-2.0-OpenSSH\r\n'));
    ends.push(() => server.stop());
    expect(await source(server.url).tokens.token()).toMatchObject({
      kind: 'unavailable',
      reason: expect.stringContaining('is not HTTP'),
    });
  });
});

it('trusts the CA of ca_file, read at each request', async () => {
  const { ca, certPem, keyPem, caFile } = await issuerCertificates();
  const other = await createCertificateAuthority('other');
  const { url } = await issuer({
    metadata: (request, response) => {
      const self = `https://${request.headers.host}`;
      sendJson(response, 200, { issuer: self, token_endpoint: `${self}/token` });
    },
    tls: { cert: certPem, key: keyPem },
  });
  await writeFile(caFile, other.certPem);

  expect(await source(url).tokens.token()).toMatchObject({
    kind: 'unavailable',
    reason: expect.stringContaining('set ca_file'),
  });
  const { tokens } = source(url, { caFile });
  expect(await tokens.token()).toMatchObject({ kind: 'unavailable' });
  await writeFile(caFile, ca.certPem);
  await expect.poll(() => tokens.token(), { timeout: 30_000 }).toMatchObject({ kind: 'token' });

  expect(await source(url, { caFile: `${caFile}.missing` }).tokens.token()).toMatchObject({
    kind: 'rejected',
    reason: expect.stringContaining('ca_file of the issuer cannot be read'),
  });
  await writeFile(caFile, 'no PEM');
  expect(await source(url, { caFile }).tokens.token()).toMatchObject({
    kind: 'rejected',
    reason: expect.stringContaining(`ca_file of the issuer: ${caFile} holds no certificate`),
  });
});
