import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createClientCredentials } from '../../src/auth/client-credentials.ts';
import { byDeviceCode, byPassword, byRefreshToken, revoke } from '../../src/auth/grants.ts';
import type { DeviceLogin } from '../../src/auth/grants.ts';
import { createIssuerClient } from '../../src/auth/issuer-client.ts';
import type { Asking, IssuerClient } from '../../src/auth/issuer-client.ts';
import { messageOf } from '../../src/errors.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { issuerOptions, memoryLog, sendJson, startIssuer } from './support.ts';
import type { IssuerBehaviour } from './support.ts';

/* An issuer that says again what it was sent: no secret is in what people are told of that. */

const SECRET = 'sécret +%41/&"of the client"';
/** RFC 6749 section 2.3.1. */
const FORM_ENCODED = new URLSearchParams([['', SECRET]]).toString().slice(1);
const BASIC = Buffer.from(`relay:${FORM_ENCODED}`).toString('base64');

type Answer = NonNullable<IssuerBehaviour['token']>;
type Sent = { readonly form: URLSearchParams; readonly headers: IncomingMessage['headers'] };

const echo =
  (answer: (sent: Sent, response: ServerResponse) => void): Answer =>
  (form, response, { headers }) =>
    answer({ form, headers }, response);
const refusal = (words: (sent: Sent) => string) =>
  echo((sent, r) => sendJson(r, 400, { error: 'invalid_client', error_description: words(sent) }));

const ECHOES: Readonly<Record<string, Answer>> = {
  'the header': refusal(({ headers }) => `got Authorization: ${headers.authorization}`),
  'the header without its scheme': refusal(({ headers }) => headers.authorization?.slice(6) ?? ''),
  'the header decoded': refusal(() => `relay:${FORM_ENCODED} is wrong`),
  'the secret': refusal(() => `${SECRET} is wrong`),
  'the secret percent-encoded': refusal(() => encodeURIComponent(SECRET)),
  'the secret in lower-case escapes': refusal(() =>
    FORM_ENCODED.replaceAll(/%../g, (each) => each.toLowerCase()),
  ),
  'the secret in JSON': refusal(() => JSON.stringify({ secret: SECRET })),
  'the form': refusal(({ form }) => form.toString()),
  'the header cut off': refusal(({ headers }) => `${headers.authorization?.slice(0, 30)}…`),
  'behind where words are cut': refusal(({ headers }) => `${'x'.repeat(460)}${headers.authorization}`),
  'an error code': echo((_, r) => sendJson(r, 401, { error: SECRET })),
  'what is tried again': echo((_, r) =>
    sendJson(r, 400, { error: 'server_error', error_description: SECRET }),
  ),
  'a kind of token': echo((_, r) => sendJson(r, 200, { access_token: 'a', token_type: SECRET })),
  'a content type': echo((_, r) => r.writeHead(200, { 'content-type': `text/${BASIC}` }).end('x')),
  'what is no JSON': echo((_, r) => r.writeHead(200, { 'content-type': 'application/json' }).end(SECRET)),
  'the path of a redirect': echo((_, r) =>
    r.writeHead(302, { location: `/login/${encodeURIComponent(SECRET)}` }).end(),
  ),
};

async function issuer(behaviour: IssuerBehaviour) {
  const started = await startIssuer(behaviour);
  onTestFinished(() => started.stop());
  return started;
}

/** No piece of it, in a form in which it was sent or would be shown. */
function piecesIn(words: string, ...secrets: readonly string[]): string[] {
  const forms = secrets.flatMap((secret) => [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
  ]);
  return [...forms, FORM_ENCODED]
    .flatMap((form) =>
      Array.from({ length: Math.max(form.length - 15, 1) }, (_, at) => form.slice(at, at + 16)),
    )
    .filter((piece) => words.includes(piece));
}

const METHODS = ['client_secret_basic', 'client_secret_post'] as const;

describe.each(METHODS)('by %s', (method) => {
  it.each(Object.keys(ECHOES))('%s in an answer is in no words and no log line', async (name) => {
    const { url } = await issuer({
      metadata: (request, response) => {
        const base = `http://${request.headers.host}`;
        sendJson(response, 200, {
          issuer: base,
          token_endpoint: `${base}/token`,
          token_endpoint_auth_methods_supported: [method],
        });
      },
      token: ECHOES[name]!,
    });
    const { log, lines } = memoryLog();
    const tokens = createClientCredentials(
      { destination: 'mlflow', ...issuerOptions(url), clientSecret: () => Promise.resolve(SECRET) },
      { log, metrics: createMetrics() },
    );
    onTestFinished(() => tokens.close());
    const result = await tokens.token();
    expect(result).toMatchObject({ kind: expect.stringMatching(/rejected|unavailable/) });
    const sent = method === 'client_secret_basic' ? [SECRET, BASIC] : [SECRET];
    expect(piecesIn(JSON.stringify([result, lines]), ...sent)).toEqual([]);
  });
});

describe('what people and jobs give', () => {
  const REFRESH = 'refresh-token-0123456789abcdef';
  const PASSWORD = 'pässword of a user';
  const asks: [string, string, (client: IssuerClient, asking: Asking) => Promise<unknown>][] = [
    ['a refresh token', REFRESH, (client, asking) => byRefreshToken(client, asking, REFRESH)],
    [
      'a password',
      PASSWORD,
      (client, asking) => byPassword(client, asking, { username: 'u', password: PASSWORD }),
    ],
    ['a token that is revoked', REFRESH, (client, asking) => revoke(client, asking, REFRESH)],
  ];
  it.each(asks)('%s in an answer is in no words', async (_, secret, ask) => {
    const { url } = await issuer({
      token: refusal(({ form }) => `${form.toString()} ${secret} ${encodeURIComponent(secret)}`),
    });
    const client = createIssuerClient(issuerOptions(url));
    const metadata = {
      ...(await client.discover(AbortSignal.timeout(10_000))),
      revocation_endpoint: `${url}/revoke`,
    };
    const asking = { metadata, secret: undefined, signal: AbortSignal.timeout(10_000) };
    const words = await ask(client, asking).then(() => 'granted', messageOf);
    expect(words).toContain('[secret]');
    expect(piecesIn(words, secret)).toEqual([]);
  });

  it('a refresh token that comes back as the next one is kept as it is', async () => {
    const { url } = await issuer({
      token: (form, response) =>
        sendJson(response, 200, {
          access_token: 'a',
          token_type: 'Bearer',
          expires_in: 60,
          refresh_token: form.get('refresh_token'),
        }),
    });
    const client = createIssuerClient(issuerOptions(url));
    const signal = AbortSignal.timeout(10_000);
    const asking = { metadata: await client.discover(signal), secret: SECRET, signal };
    expect(await byRefreshToken(client, asking, REFRESH)).toMatchObject({ refreshToken: REFRESH });
  });

  it('a device login shows no secret of the client', async () => {
    let asked = 0;
    const { url } = await issuer({
      token: (_, response) => {
        asked += 1;
        if (asked > 1)
          return sendJson(response, 400, { error: 'access_denied', error_description: 'device-code-1234' });
        sendJson(response, 200, {
          device_code: 'device-code-1234',
          user_code: `CODE ${SECRET}`,
          verification_uri: `https://login.test/${encodeURIComponent(SECRET)}`,
          verification_uri_complete: `https://login.test/?${FORM_ENCODED}`,
          expires_in: 60,
          interval: 0.01,
        });
      },
    });
    const client = createIssuerClient(issuerOptions(url));
    const signal = AbortSignal.timeout(10_000);
    const metadata = { ...(await client.discover(signal)), device_authorization_endpoint: `${url}/device` };
    const shown: DeviceLogin[] = [];
    const words = await byDeviceCode(client, { metadata, secret: SECRET, signal }, (login) =>
      shown.push(login),
    ).then(() => 'granted', messageOf);
    expect(shown).toMatchObject([{ code: 'CODE [secret]', url: 'https://login.test/[secret]' }]);
    expect(piecesIn(JSON.stringify([shown, words]), SECRET, 'device-code-1234')).toEqual([]);
  });
});

it('an answer that is nested without end is told in words, and not parsed', async () => {
  const deep = '['.repeat(1024 * 1024 - 1);
  const { url } = await issuer({
    token: (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(deep),
  });
  const client = createIssuerClient(issuerOptions(url));
  const signal = AbortSignal.timeout(10_000);
  const asking = { metadata: await client.discover(signal), secret: SECRET, signal };
  await expect(byRefreshToken(client, asking, 'refresh')).rejects.toThrow(
    'answers 200 with JSON that is nested more than 64 levels deep',
  );
});
