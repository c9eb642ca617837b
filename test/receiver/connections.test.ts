import { once } from 'node:events';
import { connect as connectBare } from 'node:net';
import type { Socket } from 'node:net';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CONNECTION_LIMITS } from '../../src/receiver/connections.ts';
import type { KeyPair } from '../stack/certificates.ts';
import { CLIENT_URI, closeOf, readAnswer, startTestReceiver, tlsOptions } from './harness.ts';
import type { TestReceiver } from './harness.ts';
import { tracesProtobuf } from './payloads.ts';

const BODY = tracesProtobuf(['a']);
const PROTOBUF = { 'content-type': 'application/x-protobuf' };
/** Small, so that a few connections are many. */
const LIMITS = { all: 8, senders: 6 };
const gaveWay = ({ msg }: { msg: string }) => msg === 'connection closed in favour of another';

function follow<S extends Socket>(socket: S) {
  onTestFinished(() => void socket.destroy());
  // A connection that is closed may end with a reset.
  socket.on('error', () => {}).resume();
  return socket;
}

/** One after the other, so that the order in which they are idle is known. */
async function dialMany(relay: TestReceiver, count: number, pair: KeyPair, localAddress?: string) {
  const sockets: TLSSocket[] = [];
  for (let i = 0; i < count; i += 1) {
    const options = { ...tlsOptions(relay.certificates, pair), servername: 'localhost', localAddress };
    const socket = follow(connect({ host: '127.0.0.1', port: relay.receiver.port, ...options }));
    await once(socket, 'secureConnect');
    // TLS 1.3 lets a client begin before the server has looked at its certificate.
    await Promise.race([once(socket, 'session'), closeOf(socket)]);
    sockets.push(socket);
  }
  return sockets;
}

async function dialBare(relay: TestReceiver, count: number, localAddress?: string) {
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i += 1) {
    const socket = follow(connectBare({ port: relay.receiver.port, host: '127.0.0.1', localAddress }));
    await once(socket, 'connect');
    sockets.push(socket);
  }
  return sockets;
}

const closed = (sockets: readonly Socket[]) => Promise.all(sockets.map(closeOf));

async function startWith(options: Parameters<typeof startTestReceiver>[0] = {}) {
  const relay = await startTestReceiver({ connectionLimits: LIMITS, ...options });
  const issue = (name: string) =>
    relay.certificates.ca.issue({ commonName: name, dnsNames: [`${name}.example.com`], usage: 'client' });
  return { ...relay, issue, greedy: await issue('greedy') };
}

describe('more connections than there may be', () => {
  test('of one sender: the longest idle ones make room, for itself and for others, who keep what they have', async () => {
    const relay = await startWith();
    const { issue, greedy, send, seen, queue } = relay;
    const idle = await dialMany(relay, 6, greedy);
    const [other] = await dialMany(relay, 1, await issue('other'));
    await closed(idle.slice(0, 1));
    expect(await seen(gaveWay)).toMatchObject({
      level: 40,
      holder: 'sender greedy.example.com',
      remote: '127.0.0.1',
      detail: expect.stringContaining('should use fewer'),
    });
    await dialMany(relay, 5, greedy);
    await closed(idle);
    for (const name of ['third', 'fourth']) {
      expect((await send({ body: BODY, client: await issue(name) })).status).toBe(200);
    }
    expect(other!.closed).toBe(false);
    expect(queue.records).toHaveLength(2);
  });

  test('of a client that may not send: no sender loses one by it', async () => {
    const relay = await startWith({ allowedClients: ['*.example.com'] });
    const { certificates, issue, send } = relay;
    const refused = await certificates.ca.issue({ commonName: 'refused', usage: 'client' });
    expect((await send({ body: BODY, client: refused })).status).toBe(403);
    const idle = await dialMany(relay, 6, await issue('good'));
    const unwelcome = await dialMany(relay, 20, refused);
    await closed(unwelcome.slice(0, 18));
    expect(idle.filter((socket) => socket.closed)).toEqual([]);
    expect((await send({ body: BODY, client: await issue('another') })).status).toBe(200);
  });

  test('of a certificate that claims the id of another: they are held by its own name, and the other keeps its own', async () => {
    const relay = await startWith();
    const { certificates, send, seen } = relay;
    const uris = [CLIENT_URI, `${CLIENT_URI}-too`];
    const forged = await certificates.ca.issue({ commonName: 'forged', uris, usage: 'client' });
    const idle = await dialMany(relay, 3, relay.client);
    const unwelcome = await dialMany(relay, 12, forged);
    await closed(unwelcome.slice(0, 7));
    expect(await seen(gaveWay)).toMatchObject({ holder: 'sender CN=forged' });
    expect(idle.filter((socket) => socket.closed)).toEqual([]);
    expect((await send({ body: BODY })).status).toBe(200);
  });

  test('without a certificate: no sender loses one, and a client of the same address gets in', async () => {
    const relay = await startWith();
    const { issue, send } = relay;
    const idle = await dialMany(relay, 6, await issue('good'));
    const bare = await dialBare(relay, 20);
    await closed(bare.slice(0, 18));
    expect(idle.filter((socket) => socket.closed)).toEqual([]);
    expect((await send({ body: BODY, client: await issue('another') })).status).toBe(200);
  });

  test('where there is room otherwise, as many handshakes as fit go on at once', async () => {
    const relay = await startWith();
    const bare = await dialBare(relay, 8);
    // What was accepted before it is known by then.
    const [next] = await dialBare(relay, 1);
    await closed(bare.slice(0, 1));
    expect([...bare.slice(1), next!].filter((socket) => socket.closed)).toEqual([]);
  });

  test('without a certificate, of one address: those of others go on with theirs', async () => {
    const relay = await startWith();
    const others = await dialBare(relay, 2, '127.0.0.2');
    const bare = await dialBare(relay, 20, '127.0.0.3');
    await closed(bare.slice(0, 14));
    expect(others.filter((socket) => socket.closed)).toEqual([]);
  });

  test('of many senders at one address: each has its own share', async () => {
    const relay = await startWith();
    const pairs = await Promise.all(['a', 'b', 'c'].map((name) => relay.issue(name)));
    const sockets = [];
    for (const pair of pairs) sockets.push(await dialMany(relay, 1, pair));
    await dialMany(relay, 12, relay.greedy);
    expect(sockets.flat().filter((socket) => socket.closed)).toEqual([]);
  });

  test('in plaintext, by address', async () => {
    const relay = await startWith({ plaintext: true });
    const mine = await dialBare(relay, 2, '127.0.0.2');
    const idle = await dialBare(relay, 8, '127.0.0.3');
    await closed(idle.slice(0, 2));
    expect((await relay.send({ body: BODY, localAddress: '127.0.0.4' })).status).toBe(200);
    await closed(idle.slice(0, 3));
    expect(mine.filter((socket) => socket.closed)).toEqual([]);
  });

  test('a request in hand is finished while anything idle can make room', async () => {
    const relay = await startWith();
    const { greedy, issue, open, queue } = relay;
    const held = queue.hold();
    const request = open({ headers: PROTOBUF, client: greedy });
    const answer = readAnswer(request);
    request.end(BODY);
    await held.arrived;
    const idle = await dialMany(relay, 5, greedy);
    await dialMany(relay, 5, await issue('other'));
    await closed(idle.slice(0, 2));
    held.release();
    expect((await answer).status).toBe(200);
  });

  test('where all are busy, whoever has most loses the longest busy one to one that has less', async () => {
    const relay = await startWith();
    const { greedy, issue, send } = relay;
    const busy = await dialMany(relay, 6, greedy);
    // A body that does not come.
    for (const socket of busy) {
      const isBusy = once(socket, 'data');
      socket.write('POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n');
      socket.write('expect: 100-continue\r\ncontent-length: 2\r\n\r\n');
      await isBusy;
    }
    const [more] = await dialMany(relay, 1, greedy);
    await closed([more!]);
    expect((await send({ body: BODY, client: await issue('good') })).status).toBe(200);
    await closed(busy.slice(0, 1));
    expect(busy.slice(1).filter((socket) => socket.closed)).toEqual([]);
  });
});

test('the limits are those of the machine: three quarters are for those who may send', () => {
  expect(CONNECTION_LIMITS).toEqual({ all: 4096, senders: 3072 });
});

/** The statuses of the answers to all this on one connection, until the receiver ends it. */
async function exchange(bytes: string) {
  const relay = await startTestReceiver({ plaintext: true });
  const socket = connectBare(relay.receiver.port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  const ended = closeOf(socket);
  socket.write(bytes);
  await ended;
  const answers = Buffer.concat(chunks).toString('latin1');
  return { ...relay, statuses: [...answers.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, code]) => Number(code)) };
}

describe('several requests at once on a connection', () => {
  const get = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';

  test('a few are answered, one after the other', async () => {
    const { statuses } = await exchange(
      `${get.repeat(9)}${get.replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n')}`,
    );
    expect(statuses).toEqual(Array(10).fill(404));
  });

  test('many are not, whatever they cost', async () => {
    const { statuses, metrics } = await exchange(get.repeat(5000));
    expect(statuses.length).toBeLessThanOrEqual(16);
    const [counted] = (await metrics.requests.get()).values;
    expect(counted!.value).toBeLessThanOrEqual(16);
  });

  test('what stands behind a request whose end is in doubt is not taken, and a stop does not wait for it', async () => {
    const smuggled = `POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`;
    const { statuses, receiver, queue, metrics } = await exchange(
      `POST /v1/traces HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 0\r\n\r\n${smuggled.repeat(3)}`,
    );
    expect(statuses).toEqual([400]);
    expect(queue.records).toEqual([]);
    expect((await metrics.requests.get()).values).toMatchObject([{ labels: { code: 400 }, value: 1 }]);
    await receiver.stop(600_000);
  });
});
