import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { startAdminServer } from '../../src/telemetry/admin-server.ts';
import type { RelayStatus } from '../../src/telemetry/admin-server.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

async function start(port = 0) {
  const metrics = createMetrics();
  const state: { status: RelayStatus | Error } = { status: { ready: true, queue: { bytes: 7 } } };
  const admin = await startAdminServer(
    { host: '127.0.0.1', port },
    {
      metrics,
      log: pino({ level: 'silent' }),
      status: () => {
        if (state.status instanceof Error) throw state.status;
        return state.status;
      },
      beforeScrape: () => metrics.queueBytes.set(42),
    },
  );
  onTestFinished(() => admin.stop());
  const get = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${admin.port}${path}`, { method });
  return { admin, metrics, state, get };
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
  expect((await get('/status', 'POST')).status).toBe(404);
  expect((await get('/metrics', 'DELETE')).status).toBe(404);
});

test('a status that fails is 500 without its words', async () => {
  const { get, state } = await start();
  state.status = new Error('secret');
  const response = await get('/status');
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain('secret');
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
