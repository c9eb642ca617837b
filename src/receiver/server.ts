import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import Fastify from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { messageOf } from '../errors.ts';
import type { RouteTarget } from '../otlp/record.ts';
import type { Queue } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Notice } from '../telemetry/notice.ts';
import { createAdmission } from './admission.ts';
import type { Admission } from './admission.ts';
import { CONNECTION_LIMITS, remoteAddressOf, trackConnections } from './connections.ts';
import type { ConnectionLimits, Connections } from './connections.ts';
import { createHttpServer, listen } from './http-server.ts';
import type { HttpTimes } from './http-server.ts';
import { refusalOfClientError, unavailable } from './refusal.ts';
import { TRACES_PATH, checkHead, headOf } from './request-head.ts';
import { createResponder } from './responder.ts';
import type { Responder } from './responder.ts';
import { forgetSessions, keepTlsFresh } from './tls.ts';
import type { TlsFiles } from './tls.ts';
import { createTracesRoute } from './traces-route.ts';
import type { TracesRequest } from './traces-route.ts';
import { waitForTurn } from './turn.ts';

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
  /** Whether broken text is mended; else it costs what has it. */
  repair: boolean;
  /** `CONNECTION_LIMITS` unless given. */
  connectionLimits?: ConnectionLimits;
  /** In place of the usual ones of the HTTP server. */
  httpTimes?: HttpTimes;
};

export type ReceiverDeps = {
  queue: Pick<Queue, 'append'>;
  route: (sender: string) => RouteTarget;
  metrics: Metrics;
  log: Logger;
  /** Milliseconds since the epoch, to which the times of certificates are compared; `Date.now` unless given. */
  now?: () => number;
};

export type Receiver = {
  readonly port: number;
  /**
   * Takes no new requests (503) and lets those in hand finish, for `deadlineMs` at most. Resolves when every
   * connection is closed.
   */
  stop(deadlineMs: number): Promise<void>;
};

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
  const { host, port, tls } = options;
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
    server = createHttpServer(tls, options.httpTimes);
  } catch (error) {
    stopWatching?.();
    throw error;
  }
  const connections = await serveTraces(server, options, deps);
  try {
    await listen(server, host, port);
  } catch (error) {
    stopWatching?.();
    throw error;
  }
  const failures = new Notice();
  server.on('error', (error) => {
    // Without free descriptors it fails at every connection that waits.
    const times = failures.due(Date.now());
    if (times === undefined) return;
    log.error({ err: error, times }, `the receiver's socket failed: ${messageOf(error)}`);
  });

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

/** Sets up what answers the connections and requests of the server. */
async function serveTraces(
  server: Server,
  options: ReceiverOptions,
  deps: ReceiverDeps,
): Promise<Connections> {
  const { log, now = Date.now } = deps;
  const { tls, allowedClients, maxRequestBodySize, maxResourceSize, repair } = options;
  const { connectionLimits = CONNECTION_LIMITS } = options;
  const isSecure = tls !== undefined;
  const admission = createAdmission(allowedClients, { isSecure, now });
  const connections = trackConnections(server, {
    isSecure,
    limits: connectionLimits,
    ownerOf: (socket) => {
      const { sender, refusal } = admission(socket);
      return { sender, maySend: refusal === undefined };
    },
    onGaveWay: (gaveWay) => responder.gaveWay(gaveWay),
    onLateHandshake: (socket) =>
      responder.connectionRefused('ERR_TLS_HANDSHAKE_TIMEOUT', remoteAddressOf(socket)),
  });
  const responder = createResponder({
    ...deps,
    connections,
    maxLingerBytes: LINGER_BODIES * maxRequestBodySize,
  });
  const tracesRoute = createTracesRoute(
    {
      maxSize: maxRequestBodySize,
      maxOwnBytes: maxResourceSize,
      repair,
      maxMendedSize: maxRequestBodySize,
    },
    { ...deps, responder },
  );
  const accepted = new WeakMap<FastifyRequest, TracesRequest>();
  const admit = createDoor(server, { admission, connections, responder, now });

  const app = createApp(server, {
    begin(request, response) {
      if (!connections.begin(request, response)) return false;
      responder.begin(request);
      return true;
    },
    clientError: (error, socket) => refuseClientError(responder, error, socket),
    badUrl(request, reply) {
      // It comes past the hooks, and so past what they look for in its head.
      const sender = admit(request, reply);
      if (sender === undefined) return;
      connections.closeAfterAnswer(request.raw.socket);
      const message = 'the percent-encoding of the URL is malformed';
      responder.refuse(request, reply, sender, { status: 400, reason: 'malformed', message });
    },
  });

  app.addHook('onRequest', (request, reply, next) => {
    const sender = admit(request, reply);
    if (sender === undefined) return;
    const head = checkHead(headOf(request.raw), maxRequestBodySize);
    if ('reason' in head) {
      if (head.endsConnection === true) connections.closeAfterAnswer(request.raw.socket);
      responder.refuse(request, reply, sender, head);
      return;
    }
    accepted.set(request, { sender, head });
    next();
  });
  app.setErrorHandler((error, request, reply) => {
    log.error({ err: error }, `a request failed: ${messageOf(error)}`);
    const message = 'the relay failed at this request; its log says more';
    const { sender } = admission(request.raw.socket);
    responder.refuse(request, reply, sender, { status: 500, reason: 'internal', message });
  });
  // The second for other ways to write the path: what comes here, the head was checked of.
  for (const path of [TRACES_PATH, '*']) {
    app.post(path, (request, reply) => tracesRoute(request, reply, accepted.get(request)!));
  }
  await app.ready();

  followOddConnections(server, responder, maxRequestBodySize);
  return connections;
}

function refuseClientError(responder: Responder, error: ClientError, socket: Socket): void {
  const code = error.code ?? error.message;
  const refuse = () => responder.refuseConnection(socket, refusalOfClientError(code, error.reason));
  // Node looks every few seconds for all that came too slowly, and finds many at once.
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') waitForTurn(`address ${remoteAddressOf(socket)}`, refuse);
  else refuse();
}

/** Answers and tells of connections that never come to a request of Fastify's. */
function followOddConnections(server: Server, responder: Responder, maxBodySize: number): void {
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    // Node has taken its own listener off.
    socket.on('error', () => socket.destroy());
    const head = checkHead(headOf(request), maxBodySize);
    responder.refuseConnection(socket, 'reason' in head ? head : refusalOfClientError('CONNECT'));
  });
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    // Node ends what its check of the certificate did not pass without an error of its own.
    const verdict = socket.authorizationError as unknown as string | null | undefined;
    const reason = verdict ?? error.code ?? error.message;
    // Without a verdict it is a client that went away: a port check, mostly.
    if (reason !== 'ECONNRESET') responder.connectionRefused(reason, remoteAddressOf(socket));
  });
}

/** The check at the door: gives the sender; undefined: may not send, or not now, and was told so. */
function createDoor(
  server: Server,
  deps: {
    admission: (socket: Socket) => Admission;
    connections: Connections;
    responder: Responder;
    now: () => number;
  },
): (request: FastifyRequest, reply: FastifyReply) => string | undefined {
  const { admission, connections, responder, now } = deps;
  let sessionsSince = Number.NEGATIVE_INFINITY;

  return (request, reply) => {
    const { sender, refusal, endedAt } = admission(request.raw.socket);
    if (endedAt !== undefined) {
      // The client comes back with its new certificate, once neither connection nor session stands for the old one.
      connections.closeAfterAnswer(request.raw.socket);
      if (endedAt > sessionsSince) {
        sessionsSince = now();
        forgetSessions(server as SecureServer);
      }
    }
    if (refusal === undefined && !connections.isStopping()) return sender;
    const stopping = unavailable('stopping', 'the relay is stopping; send again', RETRY_AFTER_STOP);
    responder.refuse(request, reply, sender, refusal ?? stopping);
    return undefined;
  };
}

/** With what the parser says of it, where it is from the parser. */
type ClientError = NodeJS.ErrnoException & { readonly reason?: string };

function createApp(
  server: Server,
  on: {
    /** Whether it is to be handled. */
    begin: (request: IncomingMessage, response: ServerResponse) => boolean;
    clientError: (error: ClientError, socket: Socket) => void;
    badUrl: (request: FastifyRequest, reply: FastifyReply) => void;
  },
): FastifyInstance {
  const app = Fastify({
    serverFactory(handle) {
      const onRequest: typeof handle = (request, response) => {
        if (on.begin(request, response)) handle(request, response);
      };
      server.on('request', onRequest);
      // Node would say "continue" to every client that asks; the route says it, when the body is wanted.
      server.on('checkContinue', onRequest);
      server.on('checkExpectation', onRequest);
      return server;
    },
    clientErrorHandler: (error, socket) => on.clientError(error, socket),
    frameworkErrors: (_error, request, reply) => on.badUrl(request, reply),
  });
  app.removeAllContentTypeParsers();
  // The route reads the stream itself.
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  return app;
}
