import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { CLIENT_URI, closeOf, readAnswer, readRawAnswer, startTestReceiver, statusOf } from './harness.ts';
import { tracesProtobuf } from './payloads.ts';

describe('who may send', () => {
  test.each([
    ['a SPIFFE id', [CLIENT_URI]],
    ['a SPIFFE pattern', ['nobody.example.com', 'spiffe://cluster.local/ns/observability/sa/*']],
    ['a DNS name in other case', ['collector.EXAMPLE.com']],
    ['a DNS pattern', ['*.example.com']],
  ])('allowed by %s', async (_, allowedClients) => {
    const { send, queue } = await startTestReceiver({ allowedClients });
    expect((await send({ body: tracesProtobuf(['a']) })).status).toBe(200);
    expect(queue.records[0]!.sender).toBe(CLIENT_URI);
  });

  test('anybody else gets 403 with the identity that was seen, on any path, and one line in the log', async () => {
    const { send, queue, lines, metrics } = await startTestReceiver({ allowedClients: ['spiffe://other/*'] });
    for (const path of ['/v1/traces', '/elsewhere', '/%zz']) {
      const answer = await send({ path, body: tracesProtobuf(['a']) });
      expect(answer.status).toBe(403);
      const { code, message } = statusOf(answer);
      expect(code).toBe(7);
      expect(message).toContain(CLIENT_URI);
      expect(message).toContain('collector.example.com');
      expect(message).toContain('receiver.allowed_clients');
    }
    expect(queue.records).toEqual([]);
    const warnings = lines.filter(({ level }) => level === 40);
    expect(warnings).toMatchObject([{ sender: CLIENT_URI, reason: 'not_allowed', status: 403 }]);
    expect((await metrics.requests.get()).values).toMatchObject([{ labels: { code: 403 }, value: 3 }]);
  });

  test('the body of who may not send is not waited for', async () => {
    const { open } = await startTestReceiver({ allowedClients: ['nobody'] });
    const request = open({ headers: { 'content-type': 'application/json', 'content-length': '1000000' } });
    request.flushHeaders();
    const answer = await readAnswer(request);
    expect(answer.status).toBe(403);
    expect(answer.headers).toMatchObject({ connection: 'close', 'content-type': 'application/json' });
    expect(statusOf(answer).code).toBe(7);
    request.destroy();
  });
});

describe('a body that nobody reads', () => {
  test('is thrown away while the client reads why, and its connection closed beyond four times the limit', async () => {
    const limit = 64 * 1024;
    const { receiver } = await startTestReceiver({ plaintext: true, maxRequestBodySize: limit });
    const socket = connect(receiver.port, '127.0.0.1');
    // It ends with a reset, as not all is read that is sent.
    const closed = closeOf(socket);
    const answered = once(socket, 'data');
    socket.write('POST /elsewhere HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000000\r\n\r\n');
    const [answer] = (await answered) as [Buffer];
    expect(answer.toString('latin1')).toMatch(/^HTTP\/1\.1 404 Not Found\r\n[^]*connection: close/);

    const started = performance.now();
    let sent = 0;
    const chunk = Buffer.alloc(limit);
    socket.write(chunk.subarray(1), function next() {
      sent += 1;
      if (!socket.destroyed) socket.write(chunk, next);
    });
    await closed;
    // Time alone would end it after five seconds.
    expect(performance.now() - started).toBeLessThan(4_000);
    expect(sent).toBeGreaterThan(3);
  });
});

describe('a Status with every refusal, in the encoding of the request', () => {
  const cases = [
    ['404', { path: '/v1/logs' }, 404, 5, /POST \/v1\/traces/],
    ['404 of a GET', { method: 'GET', path: '/' }, 404, 5, /POST \/v1\/traces/],
    ['405', { method: 'GET' }, 405, 12, /GET.*POST \/v1\/traces/],
    ['405 of a DELETE', { method: 'DELETE' }, 405, 12, /DELETE/],
    ['415 by encoding', { headers: { 'content-encoding': 'br' } }, 415, 3, /"br".*gzip, deflate, zstd/],
    ['bad URL', { path: '/v1/%zz' }, 400, 3, /URL/],
    ['bad URL of the route', { path: '/v1/traces%' }, 400, 3, /URL/],
  ] as const;
  for (const contentType of ['application/x-protobuf', 'application/json']) {
    test.each(cases)(`${contentType}: %s`, async (_, options, status, code, message) => {
      const { send, metrics } = await startTestReceiver({ plaintext: true });
      const headers = { 'content-type': contentType, ...('headers' in options ? options.headers : {}) };
      const answer = await send({ ...options, headers });
      expect(answer.status).toBe(status);
      expect(answer.headers['content-type']).toBe(contentType);
      expect(statusOf(answer)).toEqual({ code, message: expect.stringMatching(message) });
      expect((await metrics.requests.get()).values).toMatchObject([{ labels: { code: status }, value: 1 }]);
    });
  }

  test('415 by content type names both; 405 and 415 have their headers', async () => {
    const { send } = await startTestReceiver({ plaintext: true });
    const answer = await send({ headers: { 'content-type': 'text/plain' }, body: Buffer.from('hello') });
    expect(answer.status).toBe(415);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.headers['accept']).toBe('application/x-protobuf, application/json');
    expect(statusOf(answer).message).toMatch(/"text\/plain".*application\/x-protobuf.*application\/json/);
    const brotli = await send({ headers: { 'content-encoding': 'br' } });
    expect(brotli.headers['accept-encoding']).toBe('gzip, deflate, zstd');
    expect((await send({ method: 'PUT' })).headers['allow']).toBe('POST');
  });

  test.each([
    ['of curl', { accept: '*/*' }, 'application/json'],
    ['of a browser', { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }, 'application/json'],
    ['that is not there', {}, 'application/json'],
    ['of both', { accept: 'application/x-protobuf, application/json' }, 'application/json'],
    ['of protobuf alone', { accept: 'application/x-protobuf' }, 'application/x-protobuf'],
  ])(
    'without a content type it is text, unless protobuf is asked for: Accept %s',
    async (_, headers, type) => {
      const { open } = await startTestReceiver({ plaintext: true });
      for (const path of ['/', '/v1/traces', '/v1/%zz']) {
        const request = open({ path, headers });
        request.end();
        const answer = await readAnswer(request);
        expect(answer.headers['content-type']).toBe(type);
        expect(statusOf(answer).message).toMatch(/./);
      }
    },
  );

  test('a HEAD and odd content types do not get around', async () => {
    const { send, queue } = await startTestReceiver({ plaintext: true });
    expect((await send({ method: 'HEAD' })).status).toBe(405);
    const body = tracesProtobuf(['a']);
    for (const contentType of ['application/x-protobuf;;', 'APPLICATION/X-PROTOBUF ; a="b;c"']) {
      expect((await send({ headers: { 'content-type': contentType }, body })).status).toBe(200);
    }
    expect(queue.records).toHaveLength(2);
  });

  test('an exception is 500, and the process goes on', async () => {
    const { send, queue, lines } = await startTestReceiver({ plaintext: true, route: brokenOnce() });
    const answer = await send({ body: tracesProtobuf(['a']) });
    expect(answer.status).toBe(500);
    expect(statusOf(answer)).toEqual({ code: 13, message: expect.not.stringContaining('secret') });
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 50, msg: expect.stringContaining('secret') }),
    );
    expect((await send({ body: tracesProtobuf(['a']) })).status).toBe(200);
    expect(queue.records).toHaveLength(1);
  });
});

async function exchange(bytes: string) {
  const { receiver } = await startTestReceiver({ plaintext: true });
  const socket = connect(receiver.port, '127.0.0.1');
  socket.write(bytes);
  return readRawAnswer(socket);
}

describe('what is no request', () => {
  test.each([
    ['not HTTP', 'hello\r\n\r\n', 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['bad request line', 'POST /v1/traces HTTP/9.9\r\n\r\n', 400],
    ['space in a header name', 'POST /v1/traces HTTP/1.1\r\nhost : a\r\n\r\n', 400],
    ['no host', 'POST /v1/traces HTTP/1.1\r\nconnection: close\r\n\r\n', 400],
    [
      'two lengths',
      'POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n',
      400,
    ],
    [
      'length and chunks',
      'POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['header too large', `POST /v1/traces HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, 431],
    ['URL too long', `POST /${'y'.repeat(20_000)} HTTP/1.1\r\nhost: a\r\n\r\n`, 431],
  ])('%s', async (_, bytes, status) => {
    const answer = await exchange(bytes);
    expect(answer.status).toBe(status);
    expect(answer.headers).toMatchObject({ 'content-type': 'application/json', connection: 'close' });
    expect(statusOf(answer)).toEqual({
      code: status === 431 ? 8 : 3,
      message: expect.stringMatching(/.{10}/),
    });
  });

  test('a broken chunk is answered in the encoding of its request', async () => {
    const answer = await exchange(
      'POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n',
    );
    expect(answer.status).toBe(400);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(statusOf(answer).code).toBe(3);
  });

  test('over TLS too', async () => {
    const { dial } = await startTestReceiver();
    const socket = await dial();
    socket.write('hello\r\n\r\n');
    expect((await readRawAnswer(socket)).status).toBe(400);
  });

  test('nonsense behind a good request does not take its answer', async () => {
    const { receiver, queue } = await startTestReceiver({ plaintext: true });
    const held = queue.hold();
    const socket = connect(receiver.port, '127.0.0.1');
    const body = tracesProtobuf(['a']);
    const head = `POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${body.length}\r\n\r\n`;
    socket.write(Buffer.concat([Buffer.from(head), body, Buffer.from('nonsense\r\n\r\n')]));
    await held.arrived;
    held.release();
    const answer = await readRawAnswer(socket);
    expect(answer.status).toBe(200);
    expect(queue.records).toHaveLength(1);
  });

  test('plaintext on the TLS port is closed, and told to the operator', async () => {
    const { receiver, seen } = await startTestReceiver();
    const socket = connect(receiver.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('POST /v1/traces HTTP/1.1\r\nhost: a\r\n\r\n');
    await once(socket, 'close');
    expect(await seen(({ msg }) => msg === 'connection refused')).toMatchObject({
      level: 40,
      reason: 'ERR_SSL_HTTP_REQUEST',
      detail: 'the client speaks http:// to a port that speaks TLS',
      remote: '127.0.0.1',
    });
  });
});

/** A route that fails for the first request. */
function brokenOnce() {
  let broken = true;
  return () => {
    if (broken) {
      broken = false;
      throw new Error('secret detail');
    }
    return { name: 'default', destinations: ['mlflow'], variables: {} };
  };
}
