import { once } from 'node:events';
import { createServer as createBareServer, connect as connectBare } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { Handshakes } from '../../src/receiver/handshakes.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import { countByTurn, manyTurns } from '../turns.ts';
import { closeOf, startTestReceiver, tlsOptions } from './harness.ts';

const MANY = 64;
/** Handshakes that go on at once. */
const AT_ONCE = 8;

function follow<S extends Socket>(socket: S): S {
  onTestFinished(() => void socket.destroy());
  return socket.on('error', () => {});
}

async function dialBare(port: number, count = MANY, localAddress = '127.0.0.1'): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () =>
    follow(connectBare({ port, host: '127.0.0.1', localAddress })),
  );
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  return sockets;
}

/** What a client of TLS sends first. */
async function clientHello(): Promise<Buffer> {
  const server = createBareServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = follow(connect({ port, host: '127.0.0.1', servername: 'localhost' }));
  const [socket] = await accepted;
  const [hello] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  client.destroy();
  server.close();
  return hello;
}

async function startServer(timeoutMs?: number) {
  const ca = await createCertificateAuthority('test');
  const pair = await ca.issue({ commonName: 'server', dnsNames: ['localhost'], usage: 'both' });
  const tls = { ca: ca.certPem, cert: pair.certPem, key: pair.keyPem };
  const server = createServer({ ...tls, requestCert: true, rejectUnauthorized: true, pauseOnConnect: true });
  const late: Socket[] = [];
  const handshakes = new Handshakes(server, (socket) => late.push(socket), timeoutMs);
  const accepted = new Map<number, Socket>();
  const established = countByTurn();
  server.on('connection', (socket) => {
    follow(socket);
    accepted.set(socket.remotePort!, socket);
    handshakes.add(socket);
  });
  server.on('secureConnection', (socket) => {
    established.add();
    handshakes.end(accepted.get(socket.remotePort!)!);
    socket.on('error', () => {}).resume();
    socket.write('hello');
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  /** Resolves when the server has seen its certificate. */
  const greeted = async (socket: Socket) => {
    await once(follow(connect({ socket, servername: 'localhost', ...tls })), 'data');
  };
  return { server, port, late, established, greeted };
}

test('of many that begin at once a few are answered in each turn, in the receiver too', async () => {
  const { receiver } = await startTestReceiver();
  const hello = await clientHello();
  const sockets = await dialBare(receiver.port);
  await manyTurns();
  const answered = countByTurn();
  for (const socket of sockets) socket.write(hello);
  await Promise.all(sockets.map((socket) => once(socket, 'data').then(answered.add)));
  // What is written in the turns before is read in one.
  expect(answered.most()).toBeLessThanOrEqual(3 * AT_ONCE);
});

test('of many at once a few end in each turn', async () => {
  const { port, greeted, established } = await startServer();
  const sockets = await dialBare(port);
  await manyTurns();
  await Promise.all(sockets.map(greeted));
  expect(established.most()).toBeLessThanOrEqual(AT_ONCE);
});

test('those without progress keep nobody out, of their own address or of another', async () => {
  const { port, greeted } = await startServer();
  const idle = await dialBare(port);
  const begun = await dialBare(port);
  const hello = await clientHello();
  for (const socket of begun) socket.write(hello);
  await Promise.all(begun.map((socket) => once(socket, 'data')));
  const others = [...(await dialBare(port, 1)), ...(await dialBare(port, 1, '127.0.0.2'))];
  await Promise.all(others.map(greeted));
  expect([...idle, ...begun].filter((socket) => socket.closed)).toEqual([]);
});

test('one that does not end in time is closed, also where it had to wait', async () => {
  const { port, late } = await startServer(300);
  const idle = await dialBare(port);
  // The timers of TLS itself are those of the first ones.
  await Promise.all(idle.slice(AT_ONCE).map(closeOf));
  expect(late).toHaveLength(MANY - AT_ONCE);
});

test('the receiver takes clients while others make no progress', async () => {
  const { receiver, send, certificates, client } = await startTestReceiver();
  await dialBare(receiver.port, 200);
  expect((await send({ body: Buffer.alloc(0) })).status).toBe(200);
  const options = { port: receiver.port, host: '127.0.0.1', ...tlsOptions(certificates, client) };
  const socket = follow(connect({ ...options, servername: 'localhost' }));
  await once(socket, 'session');
});
