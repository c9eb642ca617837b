import { once } from 'node:events';
import { createServer } from 'node:https';
import { request } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { TokenResult, TokenSource } from '../../src/auth/token-source.ts';
import { startProxy } from '../../src/proxy/proxy-server.ts';
import { folder } from '../config/folder.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import type { CertificateAuthority, KeyPair } from '../stack/certificates.ts';

/* What the proxy does with answers and requests that a real MLflow seldom gives: the upstream is a small server. */

const DOOR = { username: 'relay', password: 'made-for-this-test' };

let authority: CertificateAuthority;
let other: CertificateAuthority;
let pair: KeyPair;
beforeAll(async () => {
  [authority, other] = await Promise.all([
    createCertificateAuthority('one'),
    createCertificateAuthority('other'),
  ]);
  pair = await authority.issue({ commonName: 'mlflow', ips: ['127.0.0.1'], usage: 'server' });
});

/** Tokens "1", "2", … */
function countedTokens(without?: TokenResult) {
  let current = 1;
  const postponed: number[] = [];
  const source: TokenSource = {
    token: () =>
      Promise.resolve(
        without ?? {
          kind: 'token',
          value: String(current),
          claims: {
            issuer: undefined,
            client: undefined,
            audience: [],
            groups: [],
            username: undefined,
            validFrom: 1_000,
          },
        },
      ),
    drop: () => void (current += 1),
    doubt: () => {},
    postpone: (_, ms) => void postponed.push(ms),
    expiresAt: () => undefined,
    close: () => Promise.resolve(),
  };
  return { source, postponed };
}

const SENT = 'a-token-that-is-sent';

type Seen = {
  method: string | undefined;
  url: string | undefined;
  authorization: string | undefined;
  body: string;
};

async function setUp(
  answer: (incoming: IncomingMessage, response: ServerResponse) => void,
  {
    ca = authority,
    basePath = '',
    without,
    tokens = countedTokens(without),
  }: {
    ca?: CertificateAuthority;
    basePath?: string;
    without?: Parameters<typeof countedTokens>[0];
    tokens?: ReturnType<typeof countedTokens>;
  } = {},
) {
  const seen: Seen[] = [];
  const server = createServer({ cert: pair.certPem, key: pair.keyPem }, (incoming, response) => {
    void record(incoming, response);
  });
  async function record(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = (await buffer(incoming)).toString();
    const { method, url, headers } = incoming;
    seen.push({ method, url, authorization: headers.authorization, body });
    answer(incoming, response);
  }
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const caFile = join(folder({ 'ca.crt': ca.certPem }), 'ca.crt');
  const { source, postponed } = tokens;
  const proxy = await startProxy(
    {
      name: 'mlflow',
      upstream: new URL(`https://127.0.0.1:${port}${basePath}`),
      tls: { caFile },
      port: 0,
      door: DOOR,
    },
    source,
  );
  onTestFinished(() => proxy.stop());
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(proxy.url + path, {
      ...init,
      redirect: 'manual',
      headers: { ...init.headers, authorization: `Basic ${btoa(`${DOOR.username}:${DOOR.password}`)}` },
    });
  return { seen, ask, postponed, port, proxy };
}

test('goes to an MLflow whose certificate is of the configured CA, below its base path', async () => {
  const { seen, ask } = await setUp((_, response) => response.end('fine'), { basePath: '/base/' });
  const answer = await ask('/a/b?c=d&c=e');
  expect([answer.status, await answer.text()]).toEqual([200, 'fine']);
  expect(seen).toEqual([{ method: 'GET', url: '/base/a/b?c=d&c=e', authorization: 'Bearer 1', body: '' }]);
});

test('gives no token to one whose certificate is of another CA', async () => {
  const { seen, ask } = await setUp((_, response) => response.end('fine'), { ca: other });
  const answer = await ask('/');
  expect(answer.status).toBe(502);
  expect(await answer.json()).toMatchObject({ message: expect.stringContaining('did not answer') as string });
  expect(seen).toEqual([]);
});

test('leaves it to who asks whether to ask an MLflow again that is too busy', async () => {
  const { seen, ask } = await setUp((_, response) =>
    response.writeHead(503, { 'retry-after': '1' }).end('busy'),
  );
  const answer = await ask('/');
  expect([answer.status, answer.headers.get('retry-after'), await answer.text()]).toEqual([503, '1', 'busy']);
  expect(seen).toHaveLength(1);
});

test('passes bodies as they are, an empty one too', async () => {
  const { seen, ask } = await setUp((_, response) => response.end());
  const headers = { 'content-type': 'application/json' };
  for (const body of ['', '{"a": 1}', 'no JSON']) await ask('/', { method: 'POST', headers, body });
  expect(seen.map(({ body }) => body)).toEqual(['', '{"a": 1}', 'no JSON']);
});

test('asks once more, with another token and the same body, where a token is not taken', async () => {
  const { seen, ask } = await setUp((_, response) =>
    response.writeHead(401, { 'www-authenticate': 'x' }).end(),
  );
  const answer = await ask('/', { method: 'POST', body: 'text' });
  expect(answer.status).toBe(401);
  expect(seen.map(({ authorization, body }) => [authorization, body])).toEqual([
    ['Bearer 1', 'text'],
    ['Bearer 2', 'text'],
  ]);
});

test('keeps a token whose time has not come for MLflow', async () => {
  const { ask, postponed } = await setUp((_, response) => {
    response.writeHead(401, { date: new Date(990_000).toUTCString() }).end();
  });
  await ask('/');
  expect(postponed).toEqual([10_000, 10_000]);
});

test('drops a token that MLflow took before, whatever MLflow says of its time', async () => {
  let answers = 0;
  const { ask, postponed, seen } = await setUp((_, response) => {
    answers += 1;
    response.writeHead(answers === 2 ? 401 : 200, { date: new Date(990_000).toUTCString() }).end();
  });
  await ask('/');
  expect((await ask('/')).status).toBe(200);
  expect(postponed).toEqual([]);
  expect(seen.map(({ authorization }) => authorization)).toEqual(['Bearer 1', 'Bearer 1', 'Bearer 2']);
});

test('leads redirects of MLflow to itself back through the door, and others as they are', async () => {
  const { ask, port, proxy } = await setUp(
    (incoming, response) => {
      const own = `https://127.0.0.1:${port}/base/there?x=y`;
      response
        .writeHead(302, { location: incoming.url === '/base/own' ? own : 'https://issuer.example/login' })
        .end();
    },
    { basePath: '/base' },
  );
  expect((await ask('/own')).headers.get('location')).toBe(`${proxy.url}/there?x=y`);
  expect((await ask('/login')).headers.get('location')).toBe('https://issuer.example/login');
});

test('no path leads out of the base path', async () => {
  const { seen, proxy } = await setUp((_, response) => response.end(), { basePath: '/base' });
  const { hostname, port } = new URL(proxy.url);
  const asked = request({
    hostname,
    port,
    path: String.raw`/x\..\..\other`,
    auth: `${DOOR.username}:${DOOR.password}`,
  });
  const [answer] = (await once(asked.end(), 'response')) as [IncomingMessage];
  answer.resume();
  expect(answer.statusCode).toBe(400);
  expect(seen).toEqual([]);
});

test.each([
  ['rejected', 401, 'UNAUTHENTICATED'],
  ['unavailable', 503, 'TEMPORARILY_UNAVAILABLE'],
] as const)('without a token that is %s it answers %i', async (kind, status, code) => {
  const { seen, ask } = await setUp((_, response) => response.end(), { without: { kind, reason: 'why' } });
  const answer = await ask('/');
  expect([answer.status, await answer.json()]).toEqual([status, { error_code: code, message: 'why' }]);
  expect(seen).toEqual([]);
});

test('says whose user name and password it wants, to wrong ones and to none', async () => {
  const { seen, proxy } = await setUp((_, response) => response.end());
  for (const authorization of [undefined, `Basic ${btoa('relay:wrong')}`, 'Bearer 1']) {
    const answer = await fetch(proxy.url, { headers: authorization === undefined ? {} : { authorization } });
    expect([answer.status, await answer.json()]).toEqual([
      401,
      {
        error_code: 'UNAUTHENTICATED',
        message: expect.stringContaining('MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD') as string,
      },
    ]);
    expect(answer.headers.get('www-authenticate')).toMatch(/^Basic /);
  }
  expect(seen).toEqual([]);
});

describe('a token that MLflow says again', () => {
  const json = { 'content-type': 'application/json' };

  test.each<[string, (authorization: string, response: ServerResponse) => void, string]>([
    [
      'in an error',
      (sent, r) => r.writeHead(500, json).end(JSON.stringify({ message: sent })),
      '{"message":"Bearer [secret]"}',
    ],
    [
      'in one that is compressed',
      (sent, r) => r.writeHead(400, { 'content-encoding': 'gzip' }).end(gzipSync(sent)),
      'Bearer [secret]',
    ],
    [
      'in one in pieces',
      (sent, r) => {
        r.writeHead(404).write(sent.slice(0, 12));
        setImmediate(() => r.end(sent.slice(12)));
      },
      'Bearer [secret]',
    ],
    [
      'in one that is too large',
      (sent, r) => r.writeHead(403).end(sent.repeat(100_000)),
      'answers 403 with more than 1048576 bytes',
    ],
    [
      'in a redirect',
      (sent, r) => r.writeHead(302, { location: `/login?token=${sent.slice(7)}` }).end(),
      '/login?token=[secret]',
    ],
  ])('%s is masked', async (_, echo, words) => {
    const { ask } = await setUp(
      (incoming, response) => void echo(incoming.headers.authorization ?? '', response),
      { tokens: countedTokens({ kind: 'token', value: SENT }) },
    );
    const answer = await ask('/');
    const text = `${await answer.text()}${answer.headers.get('location')}`;
    expect(text).toContain(words);
    expect(text).not.toContain(SENT);
  });

  test('leaves a success, and the headers of an answer to HEAD, as they are', async () => {
    const { ask } = await setUp(
      (incoming, response) => {
        if (incoming.method === 'HEAD') response.writeHead(404, { 'content-length': '1234' }).end();
        else response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('some artifact'));
      },
      { tokens: countedTokens({ kind: 'token', value: SENT }) },
    );
    expect(await (await ask('/')).text()).toBe('some artifact');
    const head = await ask('/', { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length')]).toEqual([404, '1234']);
  });

  test('an error that is cut off in the middle is one of the proxy', async () => {
    const { ask } = await setUp(
      (_, response) => {
        response.writeHead(500, { 'content-length': '100' }).write('ab');
        setImmediate(() => response.destroy());
      },
      { tokens: countedTokens({ kind: 'token', value: SENT }) },
    );
    const answer = await ask('/');
    expect([answer.status, await answer.json()]).toEqual([
      502,
      { error_code: 'TEMPORARILY_UNAVAILABLE', message: expect.stringContaining('did not answer') as string },
    ]);
  });
});
