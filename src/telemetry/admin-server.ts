import { createServer } from 'node:http';
import type { RequestListener, Server, ServerOptions } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import Fastify from 'fastify';
import type { FastifyReply } from 'fastify';
import { addressBlock } from '../address-block.ts';
import { listenFailed, messageOf } from '../errors.ts';
import { FairPool } from '../fair-pool.ts';
import { boundPipelining } from '../pipelining.ts';
import { followReads } from '../turn-of-reads.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';
import { Notices } from './notice.ts';

/** What the relay says of itself; `ready` is whether it can take traces. */
export type RelayStatus = { ready: boolean; [detail: string]: unknown };

export type AdminServer = { readonly port: number; stop(): Promise<void> };

/**
 * Probes, a few scrapers and a person: more have no business here, and the descriptors are for receiver and queue.
 * Beyond it an idle connection of the address that has most of them is closed (see `FairPool`).
 */
const MAX_CONNECTIONS = 64;

/** All that come in one read from the network are looked at in one go. */
const MAX_PIPELINED = 4;

const HTTP_OPTIONS: ServerOptions = {
  /** A request is a few hundred bytes, from nearby. Beyond these: 408. */
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 2_000,
  /** Longer than the minute at which Prometheus scrapes by default. */
  keepAliveTimeout: 72_000,
};

/** A connection is cut if a request is in hand and nothing moves on it for this long: its client does not read the answer. */
const STALLED_MS = 10_000;

const PATHS: ReadonlySet<string> = new Set(['/livez', '/readyz', '/status', '/metrics']);

const NOTHING = { error: 'there is nothing here but GET /livez, /readyz, /status and /metrics' };
const READ_ONLY = { error: 'this is to be read only: send GET or HEAD' };

/**
 * Health, metrics and status over plain HTTP, to read only:
 * `/livez` 200; `/readyz` 200 or 503 with the status; `/status` 200 with the status; `/metrics` for Prometheus.
 * `beforeScrape` brings the gauges up to date; it is called before each reading of the metrics.
 *
 * @throws RelayError LISTEN_FAILED
 */
export async function startAdminServer(
  options: { host: string; port: number; maxConnections?: number },
  deps: { metrics: Metrics; log: Logger; status: () => RelayStatus; beforeScrape: () => void },
): Promise<AdminServer> {
  const { host, port, maxConnections = MAX_CONNECTIONS } = options;
  const { log, status, beforeScrape } = deps;
  const { registry } = deps.metrics;
  const app = Fastify({
    // Scrapers keep connections open; stopping does not wait for them.
    forceCloseConnections: true,
    serverFactory: (handle) => createBoundedServer(handle, maxConnections),
    // Nothing of what a client sends is logged: it is not the relay's trouble, and there is no end to it.
    clientErrorHandler: (error, socket) => refuseConnection(socket, error.code ?? ''),
    frameworkErrors: (_error, _request, reply: FastifyReply) =>
      void reply.code(400).send({ error: 'the percent-encoding of the URL is malformed' }),
  });
  app.server.on('connect', (_request, socket: Socket) => {
    // Node has taken its own listener off.
    socket.on('error', () => socket.destroy());
    refuseConnection(socket, 'CONNECT');
  });

  app.addHook('onRequest', (request, reply, next) => {
    reply.header('cache-control', 'no-store');
    // No body is read.
    const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers;
    if (length !== '0' || coding !== undefined) reply.header('connection', 'close');
    if (request.method === 'GET' || request.method === 'HEAD') next();
    else if (PATHS.has(request.url.split('?', 1)[0]!)) {
      reply.code(405).header('allow', 'GET, HEAD').send(READ_ONLY);
    } else reply.code(404).send(NOTHING);
  });
  app.get('/livez', () => ({ alive: true }));
  app.get('/readyz', (_request, reply) => {
    const now = status();
    return reply.code(now.ready ? 200 : 503).send(now);
  });
  app.get('/status', () => status());
  app.get('/metrics', async (_request, reply) => {
    beforeScrape();
    return reply.header('content-type', registry.contentType).send(await registry.metrics());
  });
  app.setNotFoundHandler((_request, reply) => reply.code(404).send(NOTHING));
  const failures = new Notices();
  app.setErrorHandler((error, request, reply) => {
    const { url } = request.routeOptions;
    const times = failures.due(url ?? '', Date.now());
    if (times !== undefined) log.error({ err: error, times }, `${url} failed: ${messageOf(error)}`);
    return reply.code(500).send({ error: 'failed; the log of the relay says more' });
  });

  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw listenFailed(host, port, 'admin.listen', error);
  }
  return {
    port: (app.server.address() as AddressInfo).port,
    stop: () => app.close(),
  };
}

function createBoundedServer(handle: RequestListener, maxConnections: number): Server {
  const pool = new FairPool<Socket>(() => maxConnections);
  const server = createServer(HTTP_OPTIONS, (request, response) => {
    const { socket } = request;
    if (pool.begin(socket) === 0) {
      socket.destroy();
      return;
    }
    response.once('close', () => pool.end(socket));
    handle(request, response);
  });
  server.timeout = STALLED_MS;
  server.on('connection', (socket: Socket) => {
    const address = addressBlock(socket.remoteAddress);
    pool.add(socket, address)?.destroy();
    followReads(socket, `admin ${address}`);
    boundPipelining(socket, () => pool.inHandOf(socket) < MAX_PIPELINED);
    socket.once('close', () => pool.remove(socket));
  });
  return server;
}

/** Answers what is no request, by the code of `clientError`; what was never asked is closed. */
function refuseConnection(socket: Socket, code: string): void {
  if (!socket.writable || socket.bytesRead === 0) {
    socket.destroy();
    return;
  }
  const [status, error] = REFUSALS[code] ?? ['400 Bad Request', 'not a well-formed HTTP/1.1 request'];
  const body = JSON.stringify({ error });
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`;
  socket.write(head + body);
  socket.destroySoon();
}

const REFUSALS: Readonly<Record<string, readonly [status: string, error: string]>> = {
  CONNECT: ['404 Not Found', NOTHING.error],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request did not arrive in time'],
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'the headers are too large'],
};
