import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { METHODS } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startAdminServer } from '../../src/telemetry/admin-server.ts';
import type { RelayStatus } from '../../src/telemetry/admin-server.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { closeOf, memoryLog } from '../receiver/harness.ts';

async function start(port = 0, maxConnections?: number) {
  const memory = memoryLog();
  const metrics = createMetrics();
  const state: { status: RelayStatus | Error } = { status: { ready: true, queue: { bytes: 7 } } };
  const admin = await startAdminServer(
    { host: '127.0.0.1', port, ...(maxConnections !== undefined && { maxConnections }) },
    {
      metrics,
      log: memory.log,
      status: () => {
        if (state.status instanceof Error) throw state.status;
        return state.status;
      },
      beforeScrape: () => metrics.queueBytes.set(42),
    },
  );
  onTestFinished(() => admin.stop());
  const get = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${admin.port}${path}`, { method });
  /** What is answered to these bytes until the connection ends. */
  const exchange = async (bytes: string) => {
    const socket = connect(admin.port, '127.0.0.1');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    const ended = closeOf(socket);
    socket.write(bytes);
    await ended;
    return Buffer.concat(chunks).toString('latin1');
  };
  return { admin, metrics, state, get, exchange, ...memory };
}

test('alive always, ready when it is, with the status', async () => {
  const { get, state } = await start();
  expect((await get('/readyz')).status).toBe(200);
  state.status = { ready: false, queue: 'disk full' };
  const readyz = await get('/readyz');
  expect(readyz.status).toBe(503);
  expect(await readyz.json()).toEqual({ ready: false, queue: 'disk full' });
  const status = await get('/status');
  expect(status.status).toBe(200);
  expect(status.headers.get('content-type')).toContain('application/json');
  expect(await status.json()).toEqual({ ready: false, queue: 'disk full' });
  expect((await get('/livez')).status).toBe(200);
});

test('metrics are brought up to date before they are read', async () => {
  const { get, metrics } = await start();
  const response = await get('/metrics');
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe(metrics.registry.contentType);
  const text = await response.text();
  expect(text).toContain('mlflow_trace_relay_queue_bytes 42');
  expect(text).toContain('# HELP mlflow_trace_relay_accepted_spans_total');
});

test('there is nothing else, and nothing to change', async () => {
  const { get } = await start();
  expect((await get('/')).status).toBe(404);
  expect((await get('/', 'POST')).status).toBe(404);
  for (const path of ['/livez', '/readyz', '/status', '/metrics?a=b']) {
    expect((await get(path, 'HEAD')).status).toBe(200);
    for (const method of ['POST', 'DELETE']) {
      const answer = await get(path, method);
      expect([path, answer.status, answer.headers.get('allow')]).toEqual([path, 405, 'GET, HEAD']);
      expect(await answer.json()).toEqual({ error: 'this is to be read only: send GET or HEAD' });
    }
  }
});

test('a status that fails is 500 without its words, and one line in the log', async () => {
  const { get, state, lines } = await start();
  state.status = new Error('secret');
  const response = await get('/status');
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain('secret');
  for (let i = 0; i < 20; i += 1) expect((await get('/status')).status).toBe(500);
  expect(lines).toMatchObject([{ level: 50, msg: '/status failed: secret', times: 1 }]);
});

test('a taken port is one clear error; stop frees it in spite of open connections', async () => {
  const { admin, get } = await start();
  await get('/livez');
  await expect(start(admin.port)).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    message: expect.stringMatching(new RegExp(`127\\.0\\.0\\.1:${admin.port} .*EADDRINUSE.*admin\\.listen`)),
  });
  await admin.stop();
  await expect(get('/livez')).rejects.toThrow('fetch failed');
});

describe('whatever a client does is answered, and costs no line of the log', () => {
  const close = 'host: a\r\nconnection: close\r\n';
  test.each(METHODS.filter((method) => !['GET', 'HEAD', 'CONNECT'].includes(method)))(
    '%s',
    async (method) => {
      const { exchange, lines } = await start();
      expect(await exchange(`${method} /status HTTP/1.1\r\n${close}\r\n`)).toMatch(
        /^HTTP\/1\.1 405 [^]*allow: GET, HEAD[^]*to be read only/,
      );
      expect(lines).toEqual([]);
    },
  );

  test.each([
    ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n', 404],
    ['an unknown method', `FOO /status HTTP/1.1\r\n${close}\r\n`, 400],
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['large headers', `GET /livez HTTP/1.1\r\nhost: a\r\na: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
    ['a malformed URL', `GET /%zz HTTP/1.1\r\n${close}\r\n`, 400],
    [
      'a body that is no JSON',
      `POST /status HTTP/1.1\r\n${close}content-type: application/json\r\ncontent-length: 1\r\n\r\nx`,
      405,
    ],
    ['a body without end', `POST /status HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\nx`, 405],
    [
      'a GET with a body without end',
      `GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\nx`,
      200,
    ],
    [
      'a chunked body without end',
      `QUERY / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n`,
      404,
    ],
    [
      'a malformed content type',
      `POST /status HTTP/1.1\r\n${close}content-type: a\r\ncontent-length: 1\r\n\r\nx`,
      405,
    ],
    ['an expectation', `GET /livez HTTP/1.1\r\n${close}expect: 200-ok\r\n\r\n`, 417],
    [
      'an upgrade',
      `GET /livez HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n`,
      200,
    ],
  ])('%s', async (_, bytes, status) => {
    const { exchange, lines } = await start();
    expect(await exchange(bytes)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(lines).toEqual([]);
  });

  test('many requests at once on a connection are a few answers and its end', async () => {
    const { exchange, lines, get } = await start();
    const answers = await exchange('QUERY /status HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(5_000));
    expect([...answers.matchAll(/HTTP\/1\.1/g)].length).toBeLessThanOrEqual(4);
    expect((await get('/livez')).status).toBe(200);
    expect(lines).toEqual([]);
  });
});

async function dial(port: number, count: number, localAddress: string): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i += 1) {
    const socket = connect({ port, host: '127.0.0.1', localAddress })
      .on('error', () => {})
      .resume();
    onTestFinished(() => void socket.destroy());
    await once(socket, 'connect');
    sockets.push(socket);
  }
  return sockets;
}

describe('more connections than it takes', () => {
  test('close the longest idle of whoever has most', async () => {
    const { admin, get, lines } = await start(0, 4);
    const [other] = await dial(admin.port, 1, '127.0.0.2');
    const idle = await dial(admin.port, 3, '127.0.0.3');
    const isClosed = Promise.all(idle.slice(0, 2).map(closeOf));
    await dial(admin.port, 1, '127.0.0.3');
    expect((await get('/livez')).status).toBe(200);
    await isClosed;
    expect(other!.closed).toBe(false);
    expect(lines).toEqual([]);
  });

  test('are no more than a few', async () => {
    const { admin, get } = await start();
    const sockets = await dial(admin.port, 200, '127.0.0.1');
    expect((await get('/livez')).status).toBe(200);
    expect(sockets.filter((socket) => !socket.closed).length).toBeLessThanOrEqual(64);
  });
});
