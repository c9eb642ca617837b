import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { TokenSource } from '../../src/auth/token-source.ts';
import { encodeExportResponse } from '../../src/otlp/response.ts';
import { sendJson } from '../auth/support.ts';
import { client, server } from './http-client-support.ts';
import { destination, upstream } from './mlflow-support.ts';
import type { Asked } from './support.ts';

/* An upstream that says again what it was sent: no token is in what becomes of that. */

const TOKEN = [24, 300, 256].map((size) => randomBytes(size).toString('base64url')).join('.');
const [, PAYLOAD = '', SIGNATURE = ''] = TOKEN.split('.');

function tokensOf(value: string): TokenSource {
  return {
    token: () => Promise.resolve({ kind: 'token', value }),
    drop: () => {},
    doubt: () => {},
    postpone: () => {},
    expiresAt: () => undefined,
    close: () => Promise.resolve(),
  };
}

type Echo = (authorization: string, response: ServerResponse) => void;

const plain =
  (status: number, words: (authorization: string) => string): Echo =>
  (authorization, response) =>
    void response.writeHead(status, { 'content-type': 'text/plain' }).end(words(authorization));

const ECHOES: Readonly<Record<string, Echo>> = {
  'FastAPI’s detail': (authorization, r) => sendJson(r, 400, { detail: `bad header ${authorization}` }),
  'a list of details': (authorization, r) =>
    sendJson(r, 422, { detail: [{ loc: ['header', 'authorization'], input: authorization }] }),
  'an exception of MLflow': (authorization, r) =>
    sendJson(r, 500, { error_code: 'INTERNAL_ERROR', message: `not for ${authorization}` }),
  'an error code': (authorization, r) => sendJson(r, 500, { error_code: authorization, message: 'x' }),
  'a refusal of the token': (authorization, r) => sendJson(r, 401, { detail: authorization }),
  'a refusal of permission': plain(403, (authorization) => `Permission denied for ${authorization}`),
  'what is tried again': plain(503, (authorization) => `busy; ${authorization}`),
  'text without its scheme': plain(500, (authorization) => authorization.slice('Bearer '.length)),
  'the payload': plain(500, () => `claims=${PAYLOAD}`),
  'the signature': plain(500, () => `signature ${SIGNATURE} is wrong`),
  'cut off': plain(500, (authorization) => `Authorization: ${authorization.slice(0, 60)}…`),
  'where the words are cut': plain(500, (authorization) => `${'x'.repeat(460)} ${authorization}`),
  'percent-encoded': plain(500, (authorization) => encodeURIComponent(authorization)),
  'JSON in JSON': (authorization, r) =>
    sendJson(r, 400, { detail: JSON.stringify({ headers: { authorization } }) }),
  'compressed, which nobody asked for': (authorization, r) =>
    void r
      .writeHead(500, { 'content-type': 'text/plain', 'content-encoding': 'gzip' })
      .end(gzipSync(`for ${authorization}`)),
  'the path of a redirect': (authorization, r) =>
    void r.writeHead(302, { location: `https://login.test/${authorization.slice(7)}/next?t=${TOKEN}` }).end(),
  'the host of a redirect': (_, r) => void r.writeHead(302, { location: `https://${SIGNATURE}/` }).end(),
  'a content type': (_, r) => void r.writeHead(200, { 'content-type': `text/${TOKEN}` }).end('x'),
  'a success in JSON': (authorization, r) =>
    sendJson(r, 200, { partialSuccess: { errorMessage: authorization } }),
  'a success that is none': (authorization, r) => sendJson(r, 200, { [authorization]: authorization }),
  'a warning in protobuf': (authorization, r) =>
    void r
      .writeHead(200, { 'content-type': 'application/x-protobuf' })
      .end(encodeExportResponse('protobuf', { rejectedSpans: 1, message: `no ${authorization}!` })),
};

const echoing = (where: string, echo: Echo) =>
  upstream(({ what, headers }: Asked, response) => {
    if (what !== where) return false;
    echo(headers.authorization ?? '', response);
    return true;
  });

/** Words of an outcome, where they are others than that something was masked. */
const SAID: Readonly<Record<string, string>> = {
  'the host of a redirect': 'redirects (302)',
  'where the words are cut': 'xxxxxxxx',
  'a success that is none': 'without an OTLP response',
  'a warning in protobuf': '"message":"no Bearer [secret]!"',
};

/** No piece of it, and so nothing of use. */
function piecesIn(words: string): string[] {
  const pieces = Array.from({ length: TOKEN.length - 15 }, (_, at) => TOKEN.slice(at, at + 16));
  return pieces.filter((piece) => words.includes(piece));
}

describe('what becomes of an answer with the token in it', () => {
  it.each(Object.keys(ECHOES))('%s: to traces', async (name) => {
    const { url } = await echoing('POST /v1/traces', ECHOES[name]!);
    const { send, lines } = destination(url, {}, tokensOf(TOKEN));
    const outcome = await send();
    expect(piecesIn(JSON.stringify([outcome, lines]))).toEqual([]);
    expect(JSON.stringify(outcome)).toContain(SAID[name] ?? '[secret]');
  });

  it.each(Object.keys(ECHOES))('%s: to the question for the experiment', async (name) => {
    const { url } = await echoing('GET get-by-name', ECHOES[name]!);
    const { send, lines } = destination(url, {}, tokensOf(TOKEN));
    expect(piecesIn(JSON.stringify([await send(), lines]))).toEqual([]);
  });
});

it('an answer that tells of the token before is masked too', async () => {
  const { url } = await server((request, response) => {
    response.writeHead(500).end(request.headers.authorization === undefined ? `kept: ${TOKEN}` : '');
  });
  const { http } = client();
  const ask = (headers: Record<string, string>) =>
    http.ask({ method: 'GET', url: new URL(url), headers }, new AbortController().signal);
  await ask({ authorization: `Bearer ${TOKEN}` });
  expect(await ask({})).toMatchObject({ body: Buffer.from('kept: [secret]') });
});

it('why there was no answer is masked', async () => {
  const { http } = client();
  const url = new URL(`http://${TOKEN.slice(0, 40)}.invalid/`);
  const headers = { authorization: `Bearer ${TOKEN.slice(0, 40).toLowerCase()}` };
  const result = await http.ask({ method: 'GET', url, headers }, new AbortController().signal);
  expect(result).toMatchObject({ kind: 'no answer', reason: expect.stringContaining('[secret]') });
});

it('without the token in it an answer is what it was', async () => {
  const body = Buffer.from([0x0a, 0x03, 0xff, 0xfe, 0x80, ...Buffer.from('é\\u00e9%2B&amp;')]);
  const { url } = await server((_, response) => response.writeHead(200).end(body));
  const headers = { authorization: `Bearer ${TOKEN}` };
  const result = await client().http.ask(
    { method: 'GET', url: new URL(url), headers },
    new AbortController().signal,
  );
  expect(result).toMatchObject({ kind: 'answer', body });
});
