import diagnostics from 'node:diagnostics_channel';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { startAdminServer } from '../src/telemetry/admin-server.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { closeOf, memoryLog, startTestReceiver } from './receiver/harness.ts';

const GET = 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n';
/** What Node reads at once. */
const IN_ONE_READ = GET.repeat(1_800);
const CONNECTIONS = 8;

/** How many requests Node makes in this process from now on. */
function countRequests() {
  const counted = { requests: 0 };
  const begin = () => void (counted.requests += 1);
  diagnostics.subscribe('http.server.request.start', begin);
  onTestFinished(() => void diagnostics.unsubscribe('http.server.request.start', begin));
  return counted;
}

function follow<S extends Socket>(socket: S): S {
  onTestFinished(() => void socket.destroy());
  return socket.on('error', () => {});
}

async function flood(sockets: readonly Socket[]): Promise<number> {
  const counted = countRequests();
  for (const socket of sockets) socket.resume().write(IN_ONE_READ);
  await Promise.all(sockets.map((socket) => closeOf(socket)));
  return counted.requests;
}

test.each([
  ['in plaintext', true],
  ['over TLS, of a client that may not send', false],
])(
  'of many requests in one write to the receiver a few are begun, and the connection ends: %s',
  async (_, plaintext) => {
    const { dial, receiver, certificates } = await startTestReceiver({
      plaintext,
      ...(!plaintext && { allowedClients: ['*.nobody'] }),
    });
    const stranger = await certificates.ca.issue({ commonName: 'stranger', usage: 'client' });
    const sockets = await Promise.all(
      Array.from({ length: CONNECTIONS }, async () =>
        follow(plaintext ? connect(receiver.port, '127.0.0.1') : await dial(stranger)),
      ),
    );
    expect(await flood(sockets)).toBeLessThanOrEqual(CONNECTIONS * 32);
  },
);

test('of many requests in one write to the admin port a few are begun, and the connection ends', async () => {
  const admin = await startAdminServer(
    { host: '127.0.0.1', port: 0 },
    {
      metrics: createMetrics(),
      log: memoryLog().log,
      status: () => ({ ready: true }),
      beforeScrape: () => {},
    },
  );
  onTestFinished(() => admin.stop());
  const sockets = Array.from({ length: CONNECTIONS }, () => follow(connect(admin.port, '127.0.0.1')));
  expect(await flood(sockets)).toBeLessThanOrEqual(CONNECTIONS * 32);
});
