import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { readRawAnswer, startTestReceiver, statusOf } from './harness.ts';
import type { TestReceiver } from './harness.ts';

/** A request with these lines in its head, and what follows it. */
function request(lines: string, rest = '', version = 'HTTP/1.1'): string {
  return `POST /v1/traces ${version}\r\nhost: a\r\ncontent-type: application/json\r\n${lines}\r\n${rest}`;
}

const CHUNKED = '2\r\n{}\r\n0\r\n\r\n';

async function exchange(bytes: string) {
  const relay = await startTestReceiver({ plaintext: true });
  const socket = connect(relay.receiver.port, '127.0.0.1');
  socket.write(bytes);
  return { ...relay, answer: await readRawAnswer(socket) };
}

describe('a request is refused as a whole, and its connection closed, with', () => {
  test.each([
    ['two hosts', request('host: b\r\ncontent-length: 2\r\n', '{}'), 400],
    ['the same host twice', request('Host: a\r\ncontent-length: 2\r\n', '{}'), 400],
    [
      'a second host behind a thousand headers',
      request(`${'a:\r\n'.repeat(2000)}host: b\r\ncontent-length: 2\r\n`, '{}'),
      400,
    ],
    ['two content types', request('content-type: application/json\r\ncontent-length: 2\r\n', '{}'), 400],
    ['two lengths', request('content-length: 2\r\ncontent-length: 2\r\n', '{}'), 400],
    ['two lengths in one line', request('content-length: 2, 2\r\n', '{}'), 400],
    ['a signed length', request('content-length: +2\r\n', '{}'), 400],
    ['an empty length', request('content-length:\r\n'), 400],
    ['a length without bound', request(`content-length: ${'9'.repeat(40)}\r\n`), 400],
    ['a length, then chunks', request('content-length: 2\r\ntransfer-encoding: chunked\r\n', CHUNKED), 400],
    ['chunks, then a length', request('transfer-encoding: chunked\r\ncontent-length: 2\r\n', CHUNKED), 400],
    [
      'an empty transfer coding and a length',
      request('transfer-encoding:\r\ncontent-length: 2\r\n', '{}'),
      400,
    ],
    ['chunks twice', request('transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n', CHUNKED), 400],
    ['another coding last', request('transfer-encoding: chunked, gzip\r\n', CHUNKED), 400],
    ['another coding first', request('transfer-encoding: gzip, chunked\r\n', CHUNKED), 501],
    ['an empty coding first', request('transfer-encoding: , chunked\r\n', CHUNKED), 501],
    ['chunks in HTTP/1.0', request('transfer-encoding: chunked\r\n', CHUNKED, 'HTTP/1.0'), 400],
    [
      'a length among the trailers',
      request('transfer-encoding: chunked\r\n', '2\r\n{}\r\n0\r\ncontent-length: 2\r\n\r\n'),
      400,
    ],
    ['a folded line', request('x: a\r\n b\r\ncontent-length: 2\r\n', '{}'), 400],
    ['lines that end without a return', request('content-length: 2\r\n', '{}').replaceAll('\r\n', '\n'), 400],
    ['HTTP/2.0', request('content-length: 2\r\n', '{}', 'HTTP/2.0'), 505],
  ])('%s', async (_, bytes, status) => {
    const { answer, queue } = await exchange(bytes);
    expect([answer.status, answer.headers['connection']]).toEqual([status, 'close']);
    expect(statusOf(answer)).toEqual({
      code: status === 400 ? 3 : 12,
      message: expect.stringMatching(/.{10}/),
    });
    expect(queue.records).toEqual([]);
  });
});

describe('a length in doubt is named', () => {
  const both = /has both Content-Length and Transfer-Encoding/;
  test.each([
    ['two lengths', request('content-length: 2\r\ncontent-length: 2\r\n', '{}'), /has two Content-Length/],
    ['a length that is none', request('content-length: +2\r\n', '{}'), /not one whole number/],
    ['a length, then chunks', request('content-length: 2\r\ntransfer-encoding: chunked\r\n', CHUNKED), both],
    ['chunks, then a length', request('transfer-encoding: chunked\r\ncontent-length: 2\r\n', CHUNKED), both],
    ['another coding last', request('transfer-encoding: chunked, gzip\r\n', CHUNKED), /is not chunked, once/],
    ['no HTTP', 'hello\r\n\r\n', /not a well-formed HTTP\/1\.1 request \(HPE_/],
  ])('%s', async (_, bytes, words) => {
    const { answer } = await exchange(bytes);
    expect(statusOf(answer).message).toMatch(words);
  });
});

describe('Expect of something else than 100-continue is 417', () => {
  test.each(['application/json', 'application/x-protobuf'])('in %s', async (contentType) => {
    const { answer } = await exchange(
      `POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: ${contentType}\r\nexpect: 200-ok\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}`,
    );
    expect([answer.status, answer.headers['content-type']]).toEqual([417, contentType]);
    expect(statusOf(answer)).toEqual({ code: 3, message: expect.stringContaining('"200-ok"') });
  });
});

test('a CONNECT is answered too', async () => {
  const { answer, metrics } = await exchange('CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n');
  expect(answer.status).toBe(404);
  expect(statusOf(answer).message).toContain('POST /v1/traces');
  const other = await exchange('CONNECT /v1/traces HTTP/1.1\r\nhost: a\r\n\r\n');
  expect([other.answer.status, other.answer.headers['allow']]).toEqual([405, 'POST']);
  expect((await metrics.requests.get()).values).toMatchObject([{ labels: { code: 404 }, value: 1 }]);
});

async function dialBare({ receiver }: TestReceiver): Promise<Socket> {
  const socket = connect(receiver.port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

describe('a client that does not go on', () => {
  const httpTimes = { headersTimeout: 100, requestTimeout: 200, connectionsCheckingInterval: 20 };
  for (const plaintext of [true, false]) {
    const start = async () => {
      const relay = await startTestReceiver({ plaintext, httpTimes });
      return { ...relay, socket: (await (plaintext ? dialBare(relay) : relay.dial())) as Socket | TLSSocket };
    };

    test.each([
      ['half a head', 'POST /v1/tra'],
      ['half a second head', `${request('content-length: 2\r\n', '{}')}POST`],
      ['half a body', request('content-length: 20\r\n', '{')],
    ])(`plaintext ${plaintext}: with %s gets 408`, async (_, bytes) => {
      const { socket, seen } = await start();
      socket.write(bytes);
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk as Buffer);
      expect(Buffer.concat(chunks).toString('latin1')).toMatch(
        /HTTP\/1\.1 408 Request Timeout\r\n[^]*connection: close/,
      );
      expect(await seen(({ level }) => level === 40)).toMatchObject({ status: 408, reason: 'malformed' });
    });

    test(`plaintext ${plaintext}: and has asked nothing is closed without a word`, async () => {
      const { socket, lines, metrics } = await start();
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk as Buffer);
      expect(Buffer.concat(chunks).toString()).toBe('');
      expect(lines.filter(({ level }) => level >= 40)).toEqual([]);
      expect((await metrics.requests.get()).values).toEqual([]);
    });
  }

  test('keeps its connection between two requests', async () => {
    const { receiver } = await startTestReceiver({
      plaintext: true,
      httpTimes: { ...httpTimes, headersTimeout: 500, requestTimeout: 600 },
    });
    const socket = connect(receiver.port, '127.0.0.1');
    const other = connect(receiver.port, '127.0.0.1').resume();
    for (const round of [1, 2]) {
      socket.write(request('content-length: 2\r\n', '{}'));
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect([round, answer.toString().slice(0, 15)]).toEqual([round, 'HTTP/1.1 200 OK']);
      // By then the time of a head is over.
      if (round === 1) await once(other, 'close');
    }
    socket.destroy();
  });
});
