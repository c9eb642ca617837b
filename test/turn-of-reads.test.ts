import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { startAdminServer } from '../src/telemetry/admin-server.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { beginTurn, followReads } from '../src/turn-of-reads.ts';
import { memoryLog, ROUTE, startTestReceiver } from './receiver/harness.ts';
import { tracesProtobuf } from './receiver/payloads.ts';
import { countByTurn, manyTurns, takeLong } from './turns.ts';

const GET = 'GET /status HTTP/1.1\r\nhost: x\r\n\r\n';
const CONNECTIONS = 12;

async function dial(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress });
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

async function dialMany(port: number, localAddress?: string): Promise<Socket[]> {
  return Promise.all(Array.from({ length: CONNECTIONS }, () => dial(port, localAddress)));
}

/** In one turn; resolves when something came back on each. */
async function sendAll(sockets: readonly Socket[], text: string | Buffer = GET): Promise<void> {
  for (const socket of sockets) socket.write(text);
  await Promise.all(sockets.map((socket) => once(socket, 'data')));
}

/** A server of which each request takes long; `served` tells the addresses of the clients, in order. */
async function startSlow(before: () => void = () => {}) {
  const turns = countByTurn();
  const served: string[] = [];
  const server = createServer((request, response) => {
    turns.add();
    served.push(`${request.socket.remoteAddress} ${request.socket.remotePort}`);
    before();
    takeLong();
    response.end();
  });
  server.on('connection', (socket) => followReads(socket, socket.remoteAddress!));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, turns, served };
}

test('of many connections that have something to read at once, a turn reads what it has time for, and later ones the rest', async () => {
  const { port, turns, served } = await startSlow();
  const sockets = await dialMany(port);
  await manyTurns();
  await sendAll(sockets);
  expect(served).toHaveLength(CONNECTIONS);
  // The first read of the first turn is known at its end only.
  expect(turns.most()).toBeLessThanOrEqual(2);
});

test('what tells of its begin is alone in its turn, where it takes long', async () => {
  const { port, turns } = await startSlow(beginTurn);
  const sockets = await dialMany(port);
  await manyTurns();
  await sendAll(sockets);
  expect(turns.most()).toBe(1);
});

test('who has many connections holds up nobody else, and each of its own has its turn', async () => {
  const { port, served } = await startSlow();
  const many = [...(await dialMany(port)), ...(await dialMany(port))];
  await manyTurns();
  const other = await dial(port, '127.0.0.2');
  await manyTurns();
  for (const socket of many) socket.on('data', () => void socket.write(GET));
  for (const socket of many) socket.write(GET);
  await sendAll([other]);
  // Behind two in the first turn, and those that have their turn together with it.
  expect(served.findIndex((client) => client.startsWith('127.0.0.2'))).toBeLessThan(10);
  while (new Set(served).size <= many.length) await once(many[0]!, 'data');
  for (const socket of many) socket.destroy();
});

test.each([
  ['in plaintext', true],
  ['over TLS', false],
])('the receiver reads from its connections so: %s', async (_, plaintext) => {
  const turns = countByTurn();
  const relay = await startTestReceiver({
    plaintext,
    route: () => {
      turns.add();
      takeLong();
      return ROUTE;
    },
  });
  const body = tracesProtobuf(['a']);
  const head = `POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${body.length}\r\n\r\n`;
  const dialOne = () => (plaintext ? dial(relay.receiver.port) : relay.dial());
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, dialOne));
  onTestFinished(() => sockets.forEach((socket) => socket.destroy()));
  await manyTurns();
  await sendAll(sockets, Buffer.concat([Buffer.from(head), body]));
  expect(relay.queue.records).toHaveLength(CONNECTIONS);
  expect(turns.most()).toBeLessThanOrEqual(CONNECTIONS / 2);
});

test('the admin port reads from its connections so', async () => {
  const turns = countByTurn();
  const admin = await startAdminServer(
    { host: '127.0.0.1', port: 0 },
    {
      metrics: createMetrics(),
      log: memoryLog().log,
      status: () => {
        turns.add();
        takeLong();
        return { ready: true };
      },
      beforeScrape: () => {},
    },
  );
  onTestFinished(() => admin.stop());
  const sockets = await dialMany(admin.port);
  await manyTurns();
  await sendAll(sockets);
  expect(turns.most()).toBeLessThanOrEqual(2);
});

test('of many heads that do not come in time, a few are answered in each turn', async () => {
  const relay = await startTestReceiver({
    plaintext: true,
    httpTimes: { headersTimeout: 300, connectionsCheckingInterval: 100 },
  });
  const sockets = (await Promise.all([1, 2, 3, 4, 5].map(() => dialMany(relay.receiver.port)))).flat();
  const turns = countByTurn();
  const answers = sockets.map(async (socket) => {
    socket.write('POST /v1/traces HTTP/1.1\r\n');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    turns.add();
    return answer.toString('latin1', 9, 12);
  });
  expect(new Set(await Promise.all(answers))).toEqual(new Set(['408']));
  // What is written in the turns before is read in one.
  expect(turns.most()).toBeLessThanOrEqual(12);
});
