import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { sliceReading } from '../src/sliced-reading.ts';
import { startAdminServer } from '../src/telemetry/admin-server.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { closeOf, memoryLog, startTestReceiver, temporaryFolder } from './receiver/harness.ts';
import { writeDevelopmentCertificates } from './stack/certificates.ts';

const GET = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n';
/** What Node reads at once. */
const IN_ONE_READ = GET.repeat(2_400);
/** Those of one slice, behind the 16 that a connection may have. */
const MOST_BEGUN = 64;

/** How many requests Node has made in this process from now on that are not answered. */
function countRequests() {
  const counted = { unanswered: 0, most: 0 };
  const begin = () => {
    counted.unanswered += 1;
    counted.most = Math.max(counted.most, counted.unanswered);
  };
  const end = () => void (counted.unanswered -= 1);
  diagnostics.subscribe('http.server.request.start', begin);
  diagnostics.subscribe('http.server.response.finish', end);
  onTestFinished(() => {
    diagnostics.unsubscribe('http.server.request.start', begin);
    diagnostics.unsubscribe('http.server.response.finish', end);
  });
  return counted;
}

function follow<S extends Socket>(socket: S): S {
  onTestFinished(() => void socket.destroy());
  return socket.on('error', () => {});
}

/** What comes until the connection is closed, by an end or by a reset. */
async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await closeOf(socket);
  return Buffer.concat(chunks).toString('latin1');
}

/** A server of Node's whose connections are read in slices; gives what opens a connection to it. */
async function startServer(isSecure: boolean, handle: RequestListener, prepare?: (server: Server) => void) {
  let server: Server;
  let trust: { ca: string };
  if (isSecure) {
    const { ca } = await writeDevelopmentCertificates(temporaryFolder(), {});
    const { certPem, keyPem } = await ca.issue({
      commonName: 'server',
      dnsNames: ['localhost'],
      usage: 'server',
    });
    server = createSecureServer({ cert: certPem, key: keyPem }, handle);
    trust = { ca: ca.certPem };
  } else {
    server = createServer(handle);
  }
  const readInSlices = sliceReading(server);
  server.on(isSecure ? 'secureConnection' : 'connection', (socket: Socket) =>
    readInSlices(socket, () => 'client'),
  );
  prepare?.(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return async () => {
    if (!isSecure) {
      const socket = follow(connect(port, '127.0.0.1'));
      await once(socket, 'connect');
      return socket;
    }
    const socket = follow(connectTls({ port, host: '127.0.0.1', servername: 'localhost', ...trust }));
    await once(socket, 'secureConnect');
    return socket;
  };
}

const answersIn = (text: string) => text.match(/HTTP\/1\.1 \d{3}/g)?.length ?? 0;

describe('many requests in one write are not all begun', () => {
  test.each([
    ['the receiver, in plaintext', true],
    ['the receiver, over TLS', false],
  ])('%s', async (_, plaintext) => {
    const { dial, receiver, certificates } = await startTestReceiver({
      plaintext,
      allowedClients: ['*.nobody'],
    });
    const stranger = await certificates.ca.issue({ commonName: 'stranger', usage: 'client' });
    const counted = countRequests();
    const sockets = await Promise.all(
      Array.from({ length: 8 }, async () =>
        follow(plaintext ? connect(receiver.port, '127.0.0.1') : await dial(stranger)),
      ),
    );
    for (const socket of sockets) socket.resume().write(IN_ONE_READ);
    await Promise.all(sockets.map(closeOf));
    expect(counted.most).toBeGreaterThan(16);
    expect(counted.most).toBeLessThanOrEqual(8 * MOST_BEGUN);
  });

  test('the admin server', async () => {
    const { admin } = await startAdmin();
    const counted = countRequests();
    const sockets = Array.from({ length: 8 }, () => follow(connect(admin.port, '127.0.0.1')));
    for (const socket of sockets) socket.resume().write(IN_ONE_READ);
    await Promise.all(sockets.map(closeOf));
    expect(counted.most).toBeGreaterThan(4);
    expect(counted.most).toBeLessThanOrEqual(8 * MOST_BEGUN);
  });

  test.each([
    ['behind a body', `POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nab`, `c${IN_ONE_READ}`],
    [
      'behind chunks',
      `POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n`,
      `1\r\na\r\n0\r\n\r\n${IN_ONE_READ}`,
    ],
  ])('%s', async (_, head, rest) => {
    let handled = 0;
    const begun = Promise.withResolvers<void>();
    const open = await startServer(false, (request) => {
      begun.resolve();
      handled += 1;
      if (handled === 17) request.socket.destroy();
    });
    const socket = (await open()).resume();
    socket.write(head);
    await begun.promise;
    socket.write(rest);
    await closeOf(socket);
    expect(handled).toBeGreaterThanOrEqual(17);
    expect(handled).toBeLessThanOrEqual(MOST_BEGUN);
  });
});

async function startAdmin() {
  const metrics = createMetrics();
  const deps = { metrics, log: memoryLog().log, status: () => ({ ready: true }), beforeScrape: () => {} };
  const admin = await startAdminServer({ host: '127.0.0.1', port: 0 }, deps);
  onTestFinished(() => admin.stop());
  return { admin };
}

describe.each([
  ['in plaintext', false],
  ['over TLS', true],
])('%s', (_, isSecure) => {
  test('pipelined requests of many connections are all answered, by turns', async () => {
    const REQUEST = `GET / HTTP/1.1\r\nhost: x\r\npadding: ${'x'.repeat(600)}\r\n`;
    let inTurn = 0;
    let most = 0;
    const open = await startServer(isSecure, (_request, response) => {
      if (inTurn === 0) setImmediate(() => (inTurn = 0));
      most = Math.max(most, ++inTurn);
      const end = performance.now() + 1;
      while (performance.now() < end);
      response.end('ok');
    });
    const sockets = await Promise.all(Array.from({ length: 30 }, open));
    const answers = sockets.map(readAll);
    for (const socket of sockets) {
      socket.write(`${`${REQUEST}\r\n`.repeat(9)}${REQUEST}connection: close\r\n\r\n`);
    }
    expect((await Promise.all(answers)).map(answersIn)).toEqual(Array.from({ length: 30 }, () => 10));
    expect(most).toBeLessThan(30);
  });

  test('a client that does not read its answers is not read on, and gets all of them later', async () => {
    const open = await startServer(isSecure, (_request, response) => void response.end('x'.repeat(100_000)));
    const socket = await open();
    const head = 'GET / HTTP/1.1\r\nhost: x\r\n';
    socket.write(`${`${head}\r\n`.repeat(199)}${head}connection: close\r\n\r\n`);
    expect(answersIn(await readAll(socket))).toBe(200);
  });

  test('bodies arrive as they were sent, however they are cut', async () => {
    const seen: Buffer[] = [];
    const answer = async (request: IncomingMessage, response: ServerResponse) => {
      seen.push(await buffer(request));
      response.end();
    };
    const open = await startServer(isSecure, (request, response) => void answer(request, response));
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 5 }), cuts, async (requests, sizes) => {
        seen.length = 0;
        const socket = await open();
        const answers = readAll(socket);
        const bytes = Buffer.concat(requests.map(encode));
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length]!;
          if (!socket.write(bytes.subarray(at, at + size))) await once(socket, 'drain');
          at += size;
        }
        socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
        expect(answersIn(await answers)).toBe(requests.length + 1);
        // Short bodies may be there before long ones that came earlier.
        expect(inOrder(seen)).toEqual(inOrder([...requests.map(({ body }) => body), Buffer.alloc(0)]));
      }),
      { numRuns: 25 },
    );
  });
});

const inOrder = (bodies: readonly Uint8Array[]) =>
  bodies.map((body) => Buffer.from(body).toString('hex')).toSorted();

type Sent = { body: Uint8Array; isChunked: boolean };

/** Full of what ends a head. */
const piece = fc.oneof(
  fc.constantFrom('\r\n\r\n', '\r\n', '0\r\n\r\n', GET).map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 2_000 }),
);
const request: fc.Arbitrary<Sent> = fc.record({
  body: fc
    .tuple(fc.array(piece, { maxLength: 20 }), fc.nat(40))
    .map(([pieces, times]) => Buffer.concat(Array.from({ length: times }, () => pieces).flat())),
  isChunked: fc.boolean(),
});
const cuts = fc
  .array(fc.oneof(fc.integer({ min: 1, max: 2_000 }), fc.constant(100_000)), { minLength: 1, maxLength: 20 })
  .map((sizes) => sizes.concat(70_000));

function encode({ body, isChunked }: Sent): Buffer {
  const head = 'POST / HTTP/1.1\r\nhost: x\r\n';
  if (!isChunked) return Buffer.concat([Buffer.from(`${head}content-length: ${body.length}\r\n\r\n`), body]);
  const parts = [Buffer.from(`${head}transfer-encoding: chunked\r\n\r\n`)];
  for (let at = 0; at < body.length; at += 3_000) {
    const part = body.subarray(at, at + 3_000);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), Buffer.from(part), Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

test('what is malformed is told once, and what follows it is dropped', async () => {
  let errors = 0;
  const open = await startServer(
    false,
    (_request, response) => void response.end(),
    (server) =>
      server.on('clientError', (_error, socket) => {
        errors += 1;
        setImmediate(() => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
      }),
  );
  const socket = await open();
  const text = readAll(socket);
  socket.write(`${GET}no request\r\n\r\n${IN_ONE_READ}`);
  socket.write(IN_ONE_READ);
  await text;
  expect(errors).toBe(1);
});

test('after CONNECT the bytes are no longer those of HTTP', async () => {
  const connected = Promise.withResolvers<Socket>();
  const open = await startServer(
    false,
    () => {},
    (server) => server.on('connect', (_request, socket: Socket) => connected.resolve(socket)),
  );
  const socket = await open();
  socket.write('CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n');
  const taken = await connected.promise;
  taken.pipe(taken);
  socket.write(GET);
  const [echo] = (await once(socket, 'data')) as [Buffer];
  expect(echo.toString()).toBe(GET);
});
