import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server, ServerOptions } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Server as SecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import Fastify from 'fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { listenFailed, messageOf } from '../errors.ts';
import type { RouteTarget } from '../otlp/record.ts';
import type { Queue } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { createAdmission } from './admission.ts';
import { remoteAddressOf, trackConnections } from './connections.ts';
import { MAX_HEADER_BYTES, refusalOfClientError, unavailable } from './refusal.ts';
import { TRACES_PATH, checkHead } from './request-head.ts';
import { createResponder } from './responder.ts';
import { keepTlsFresh, loadTls } from './tls.ts';
import type { TlsFiles } from './tls.ts';
import { createTracesRoute } from './traces-route.ts';
import type { TracesRequest } from './traces-route.ts';

export type ReceiverOptions = {
  host: string;
  port: number;
  /** Undefined: plaintext, was asked for. */
  tls: TlsFiles | undefined;
  /** Patterns, see `createClientCheck`; empty: every certificate that the CA signed. */
  allowedClients: readonly string[];
  /** Bytes, before and after decompression. */
  maxRequestBodySize: number;
  /** Bytes of a resource or a scope, with what else is beside its spans. */
  maxResourceSize: number;
};

export type ReceiverDeps = {
  queue: Pick<Queue, 'append'>;
  route: (sender: string) => RouteTarget;
  metrics: Metrics;
  log: Logger;
};

export type Receiver = {
  readonly port: number;
  /**
   * Takes no new requests (503) and lets those in hand finish, for `deadlineMs` at most. Resolves when every
   * connection is closed.
   */
  stop(deadlineMs: number): Promise<void>;
};

const HTTP_OPTIONS: ServerOptions = {
  maxHeaderSize: MAX_HEADER_BYTES,
  /** Ten seconds for the headers, a minute for the body: 64 MiB over a 10 Mbit/s line. Beyond it: 408. */
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  connectionsCheckingInterval: 2_000,
  /** Longer than the 90 s after which Go's clients, the Collector among them, drop an idle connection themselves. */
  keepAliveTimeout: 120_000,
  /** Node's own answer to a missing Host has no body; ours has. */
  requireHostHeader: false,
};

/** Node's default is two minutes; an honest client is done in a few round trips. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** An idle TLS connection holds some 50 KiB: 200 MiB in all. Beyond it connections are closed at once. */
const MAX_CONNECTIONS = 4_096;

/** A client that sends up to this many times what it may still reads why it may not. */
const LINGER_BODIES = 4;

/** Seconds; by then another replica, or the next process, answers. */
const RETRY_AFTER_STOP = 1;

/**
 * Takes OTLP/HTTP traces and answers 200 once the queue has them on stable storage.
 *
 * @throws RelayError CERTIFICATE_INVALID or LISTEN_FAILED
 */
export async function startReceiver(options: ReceiverOptions, deps: ReceiverDeps): Promise<Receiver> {
  const { host, port, tls, maxRequestBodySize, maxResourceSize } = options;
  const { log } = deps;

  // Watched before they are read, so that no change is missed; the first change is told of later than all this.
  const stopWatching =
    tls === undefined
      ? undefined
      : keepTlsFresh(tls, {
          server: () => server as SecureServer,
          log,
          onReload: () => connections.retireAll(),
        });
  let server: Server;
  try {
    server = createHttpServer(tls);
  } catch (error) {
    stopWatching?.();
    throw error;
  }
  const connections = trackConnections(server, tls !== undefined);
  const responder = createResponder({
    ...deps,
    connections,
    maxLingerBytes: LINGER_BODIES * maxRequestBodySize,
  });
  const admission = createAdmission(options.allowedClients, tls !== undefined);
  const tracesRoute = createTracesRoute(
    { maxSize: maxRequestBodySize, maxOwnBytes: maxResourceSize },
    { ...deps, responder },
  );
  const accepted = new WeakMap<FastifyRequest, TracesRequest>();

  const app = Fastify({
    serverFactory(handle) {
      const onRequest: typeof handle = (request, response) => {
        connections.begin(request, response);
        responder.begin(request);
        handle(request, response);
      };
      server.on('request', onRequest);
      // Node would say "continue" to every client that asks; the route says it, when the body is wanted.
      server.on('checkContinue', onRequest);
      server.on('checkExpectation', onRequest);
      return server;
    },
    clientErrorHandler: (error, socket) =>
      responder.refuseConnection(socket, refusalOfClientError(error.code ?? error.message)),
    frameworkErrors(_error, request, reply) {
      // It comes past the hooks.
      const sender = admit(request, reply);
      if (sender === undefined) return;
      const message = 'the percent-encoding of the URL is malformed';
      responder.refuse(request, reply, sender, { status: 400, reason: 'malformed', message });
    },
  });

  /** The sender; undefined: may not send, or not now, and was told so. */
  function admit(request: FastifyRequest, reply: FastifyReply): string | undefined {
    const { sender, refusal } = admission(request.raw.socket);
    if (refusal === undefined && !connections.isStopping()) return sender;
    const stopping = unavailable('stopping', 'the relay is stopping; send again', RETRY_AFTER_STOP);
    responder.refuse(request, reply, sender, refusal ?? stopping);
    return undefined;
  }

  app.removeAllContentTypeParsers();
  // The route reads the stream itself.
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.addHook('onRequest', (request, reply, next) => {
    const sender = admit(request, reply);
    if (sender === undefined) return;
    const { method = '', url = '', httpVersion, headers } = request.raw;
    const head = checkHead({ method, url, httpVersion, headers }, maxRequestBodySize);
    if ('reason' in head) {
      responder.refuse(request, reply, sender, head);
      return;
    }
    accepted.set(request, { sender, head });
    next();
  });
  app.setErrorHandler((error, request, reply) => {
    log.error({ err: error }, `a request failed: ${messageOf(error)}`);
    const message = 'the relay failed at this request; its log says more';
    responder.refuse(request, reply, admission(request.raw.socket).sender, {
      status: 500,
      reason: 'internal',
      message,
    });
  });
  app.post(TRACES_PATH, (request, reply) => tracesRoute(request, reply, accepted.get(request)!));
  await app.ready();

  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    // Node ends what its check of the certificate did not pass without an error of its own.
    const verdict = socket.authorizationError as unknown as string | null | undefined;
    const reason = verdict ?? error.code ?? error.message;
    // Without a verdict it is a client that went away: a port check, mostly.
    if (reason !== 'ECONNRESET') responder.connectionRefused(reason, remoteAddressOf(socket));
  });
  server.on('drop', (dropped) => responder.connectionRefused('too many connections', dropped?.remoteAddress));

  try {
    await listen(server, host, port);
  } catch (error) {
    stopWatching?.();
    throw error;
  }
  server.on('error', (error) =>
    log.error({ err: error }, `the receiver's socket failed: ${messageOf(error)}`),
  );

  let stopped: Promise<void> | undefined;
  async function stop(deadlineMs: number): Promise<void> {
    stopWatching?.();
    const closed = once(server, 'close');
    server.close();
    await connections.stop(deadlineMs);
    await closed;
  }
  return {
    port: (server.address() as AddressInfo).port,
    stop: (deadlineMs) => (stopped ??= stop(deadlineMs)),
  };
}

function createHttpServer(tls: TlsFiles | undefined): Server {
  if (tls === undefined) {
    const server = createServer(HTTP_OPTIONS);
    server.maxConnections = MAX_CONNECTIONS;
    return server;
  }
  const server = createSecureServer({
    ...HTTP_OPTIONS,
    ...loadTls(tls),
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    throw listenFailed(host, port, 'receiver.listen', error);
  }
}
