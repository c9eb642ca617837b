import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { describe, expect, test, vi } from 'vitest';
import { createHttpServer } from '../../src/receiver/http-server.ts';
import { refusalOfClientError } from '../../src/receiver/refusal.ts';
import { readAnswer, readRawAnswer, startTestReceiver, statusOf } from './harness.ts';
import { tracesProtobuf } from './payloads.ts';

const BODY = tracesProtobuf(['a']);
const PROTOBUF = { 'content-type': 'application/x-protobuf' };
const HEAD = `POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${BODY.length}\r\n\r\n`;
const FAR = 60_000;

describe('stop', () => {
  test('waits for the request in hand, refuses new ones, and takes no connections', async () => {
    const { receiver, queue, open, dial } = await startTestReceiver();
    const held = queue.hold();
    const request = open({ headers: PROTOBUF });
    const first = readAnswer(request);
    request.end(BODY);
    const unused = await dial();
    await held.arrived;

    let stopped = false;
    const stop = receiver.stop(FAR).then(() => (stopped = true));
    unused.write(HEAD);
    unused.write(BODY);
    const refused = await readRawAnswer(unused);
    expect(refused.status).toBe(503);
    expect(refused.headers).toMatchObject({ connection: 'close', 'retry-after': '1' });
    expect(statusOf(refused)).toEqual({ code: 14, message: expect.stringContaining('stopping') });
    await expect(dial()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(stopped).toBe(false);

    held.release();
    const answer = await first;
    expect(answer.status).toBe(200);
    expect(answer.headers['connection']).toBe('close');
    await stop;
    expect(queue.records).toHaveLength(1);
  });

  test('does not wait for idle connections, nor for handshakes', async () => {
    const { receiver, send, dial } = await startTestReceiver();
    await send({ body: BODY });
    const idle = await dial();
    const silent = connect(receiver.port, '127.0.0.1');
    await once(silent, 'connect');
    const closed = Promise.all([once(idle.resume(), 'close'), once(silent.resume(), 'close')]);
    await receiver.stop(FAR);
    await expect(closed).resolves.toHaveLength(2);
  });

  test('gives up what is in hand at the deadline', async () => {
    const { receiver, queue, open } = await startTestReceiver();
    const held = queue.hold();
    const request = open({ headers: PROTOBUF });
    const answer = readAnswer(request);
    request.end(BODY);
    await held.arrived;
    await Promise.all([receiver.stop(0), expect(answer).rejects.toThrow(/./)]);
    held.release();
  });

  test('gives up a body that does not come', async () => {
    const { receiver, dial } = await startTestReceiver();
    const socket = await dial();
    // It may end with a reset, and that is an error.
    const closed = new Promise((resolve) => socket.on('error', resolve).on('close', resolve).resume());
    socket.write(`${HEAD}a`);
    await receiver.stop(10);
    await expect(closed).resolves.toBeDefined();
  });

  test('does not wait for a client that went away in its request', async () => {
    const { receiver, queue, dial } = await startTestReceiver();
    const socket = await dial();
    socket.on('error', () => {}).resume();
    const continued = once(socket, 'data');
    socket.write(HEAD.replace('\r\n\r\n', '\r\nexpect: 100-continue\r\n\r\na'));
    await continued;
    socket.destroy();
    await receiver.stop(FAR);
    expect(queue.records).toEqual([]);
  }, 20_000);

  test.each(['goes away', 'stays'])(
    'nor for one that had sent several at once, and %s',
    async (what) => {
      const { receiver, queue, dial } = await startTestReceiver();
      const held = queue.hold();
      const socket = await dial();
      socket.on('error', () => {}).resume();
      socket.write(Buffer.concat([Buffer.from(HEAD), BODY, Buffer.from(HEAD), BODY]));
      await vi.waitUntil(() => queue.waiting === 2);
      if (what === 'goes away') socket.destroy();
      const stopped = receiver.stop(FAR);
      if (what === 'stays') held.release();
      await expect(stopped).resolves.toBeUndefined();
      held.release();
    },
    20_000,
  );

  test('twice is once', async () => {
    const { receiver } = await startTestReceiver();
    await Promise.all([receiver.stop(FAR), receiver.stop(FAR)]);
    await expect(receiver.stop(FAR)).resolves.toBeUndefined();
  });
});

test('the times of the server are those that clients are told', () => {
  expect(createHttpServer(undefined)).toMatchObject({
    headersTimeout: 10_000,
    requestTimeout: 60_000,
    keepAliveTimeout: 120_000,
    timeout: 120_000,
    maxHeadersCount: 0,
  });
});

describe('listening', () => {
  test('a taken port is one clear error', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    const { port } = blocker.address() as AddressInfo;
    await expect(startTestReceiver({ port })).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringMatching(new RegExp(`127\\.0\\.0\\.1:${port} .*EADDRINUSE.*receiver\\.listen`)),
    });
    blocker.close();
  });

  test('so is an address that is not of this machine', async () => {
    await expect(startTestReceiver({ host: '2001:db8::1', port: 4318 })).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('[2001:db8::1]:4318'),
    });
  });
});

test.each([
  ['ERR_HTTP_REQUEST_TIMEOUT', 408],
  ['HPE_HEADER_OVERFLOW', 431],
  ['HPE_INVALID_METHOD', 400],
  ['HPE_PAUSED_H2_UPGRADE', 400],
])('%s is %i', (code, status) => {
  const refusal = refusalOfClientError(code);
  expect(refusal).toMatchObject({ status, reason: 'malformed' });
  // None of these is retryable in OTLP.
  expect(refusal.message).not.toContain('send again');
});
