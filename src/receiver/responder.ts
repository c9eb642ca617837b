import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { STATUS_CODES } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { CONTENT_TYPE, encodeStatus } from '../otlp/response.ts';
import type { Encoding } from '../otlp/response.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { createBoundedLog } from './bounded-log.ts';
import type { Connections, GaveWay } from './connections.ts';
import { handshakeWords } from './handshake-words.ts';
import type { TakenBody } from './read-body.ts';
import type { LeftOut } from './refusal-of-body.ts';
import { RPC_CODE } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { encodingOf } from './request-head.ts';

/**
 * A client that is refused may still be sending. Closing on it would reset the connection, and the reset
 * overtakes the answer: so what it sends is read and thrown away, for this long at most.
 */
const LINGER_MS = 5_000;
/** Bodies up to this size are thrown away without giving up the connection. */
const SMALL_BODY = 64 * 1024;

export type Responder = ReturnType<typeof createResponder>;

/** Every answer of the receiver is written, counted and logged here. */
export function createResponder(deps: {
  metrics: Metrics;
  log: Logger;
  connections: Connections;
  /** Bytes of an unread body that are thrown away before the connection is closed. */
  maxLingerBytes: number;
}) {
  const { metrics, log, connections, maxLingerBytes } = deps;
  const warnings = createBoundedLog(log);
  const startedAt = new WeakMap<IncomingMessage, number>();
  const answeredRaw = new WeakSet<Socket>();

  function send(request: FastifyRequest, reply: FastifyReply, status: number, body: Buffer): FastifyReply {
    const { raw } = request;
    const started = startedAt.get(raw);
    metrics.requests.inc({ code: status });
    if (started !== undefined) metrics.answerSeconds.observe((performance.now() - started) / 1000);
    log.debug({ method: request.method, path: request.url.split('?', 1)[0], status }, 'answered');

    reply.code(status).header('content-type', CONTENT_TYPE[encodingFor(raw)]);
    if (connections.isLastAnswer(raw.socket)) reply.header('connection', 'close');
    // A text goes into one write with the headers, also an empty one.
    if (!hasLongUnreadBody(raw)) return reply.send(body.length === 0 ? '' : body);
    return reply
      .header('connection', 'close')
      .header('content-length', body.length)
      .send(Readable.from(thenDiscard(body, raw, maxLingerBytes)));
  }

  return {
    /** To be called when a request comes in: its time runs from here. */
    begin(request: IncomingMessage): void {
      startedAt.set(request, performance.now());
    },

    success(request: FastifyRequest, reply: FastifyReply, body: Buffer): FastifyReply {
      return send(request, reply, 200, body);
    },

    /** Answers with a google.rpc.Status; tells the operator, at a bounded rate for each sender and reason. */
    refuse(request: FastifyRequest, reply: FastifyReply, sender: string, refusal: Refusal): FastifyReply {
      const { status, reason, message, headers } = refusal;
      warnings.warn(
        `${reason} ${sender}`,
        { sender, remote: request.ip, status, reason, detail: message },
        'request refused',
      );
      if (headers !== undefined) reply.headers(headers);
      return send(request, reply, status, bodyOf(refusal, encodingFor(request.raw)));
    },

    /** Of a request that is answered 200 all the same; at a bounded rate for each sender and reason. */
    spansLeftOut(
      request: FastifyRequest,
      sender: string,
      leftOut: readonly LeftOut[],
      takenCount: number,
    ): void {
      for (const { reason, count, detail } of leftOut) {
        warnings.warn(
          `left out ${reason} ${sender}`,
          { sender, remote: request.ip, reason, left_out_spans: count, taken_spans: takenCount, detail },
          'spans left out',
        );
      }
    },

    /** Of a request that is answered 200; at a bounded rate for each sender. */
    spansMended(request: FastifyRequest, sender: string, { mendedSpanCount, mended }: TakenBody): void {
      const detail = `text that was no text was replaced by U+FFFD; the first is ${mended}`;
      warnings.warn(
        `mended ${sender}`,
        { sender, remote: request.ip, mended_spans: mendedSpanCount, detail },
        'spans mended',
      );
    },

    /** A body that is not empty had no span; at a bounded rate for each sender. */
    noSpans(request: FastifyRequest, sender: string, detail: string): void {
      warnings.warn(`no spans ${sender}`, { sender, remote: request.ip, detail }, 'request without spans');
    },

    /** No TLS was agreed, or not even begun: nobody to answer, only something to tell. */
    connectionRefused(reason: string, remote: string | undefined): void {
      const detail = handshakeWords(reason);
      warnings.warn(
        `connection ${reason}`,
        { remote, reason, ...(detail !== undefined && { detail }) },
        'connection refused',
      );
    },

    /** A connection was closed in favour of another. */
    gaveWay({ holder, remote }: GaveWay): void {
      const detail =
        'the relay has as many connections as it takes, and this client had most of them: it should use fewer, and use them again';
      warnings.warn(
        `gave way ${holder}`,
        { holder, remote, detail },
        'connection closed in favour of another',
      );
    },

    /** Answers what Node could not make a request of, or has given up waiting for. */
    refuseConnection(socket: Socket, refusal: Refusal): void {
      if (answeredRaw.has(socket)) return;
      if (refusal.status === 408 && socket.bytesRead === 0) {
        // Nothing was asked: it is an unused connection, and no client is slow.
        socket.destroy();
        return;
      }
      const exchanges = connections.exchangesOn(socket);
      const [exchange, ...others] = exchanges ?? [];
      if (exchange?.request.complete === true) {
        // What is wrong came after a good request, which has its own answer coming.
        connections.closeAfterAnswer(socket);
        return;
      }
      if (
        exchanges === undefined ||
        !socket.writable ||
        others.length > 0 ||
        exchange?.response.headersSent
      ) {
        socket.destroy();
        return;
      }
      const { status, reason, message } = refusal;
      warnings.warn(
        `${reason} ${status}`,
        { remote: socket.remoteAddress, status, reason, detail: message },
        'request refused',
      );
      metrics.requests.inc({ code: status });
      answeredRaw.add(socket);
      const encoding = exchange === undefined ? 'json' : encodingFor(exchange.request);
      const headers = { ...refusal.headers, connection: 'close' };
      socket.end(rawAnswer(status, encoding, bodyOf(refusal, encoding), headers));
      const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
      socket.once('close', () => clearTimeout(timer));
    },
  };
}

/**
 * Errors too are in the encoding of the request (OTLP/HTTP, Failures). Where that cannot be told they are for a person to
 * read, unless the client accepts protobuf and no JSON.
 */
function encodingFor({ headers }: IncomingMessage): Encoding {
  const encoding = encodingOf(headers['content-type']);
  if (encoding !== undefined) return encoding;
  const accepted = headers.accept?.split(',').map(encodingOf) ?? [];
  return accepted.includes('protobuf') && !accepted.includes('json') ? 'protobuf' : 'json';
}

function bodyOf({ status, message }: Refusal, encoding: Encoding): Buffer {
  return encodeStatus(encoding, RPC_CODE[status], message, status === 400);
}

function hasLongUnreadBody(request: IncomingMessage): boolean {
  if (request.complete) return false;
  return (
    request.headers['transfer-encoding'] !== undefined ||
    Number(request.headers['content-length'] ?? 0) > SMALL_BODY
  );
}

/** The whole answer at once, its end only when the client has stopped sending or has sent more than enough. */
async function* thenDiscard(body: Buffer, request: IncomingMessage, maxBytes: number) {
  yield body;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, LINGER_MS).unref();
    let discarded = 0;
    function finish(): void {
      clearTimeout(timer);
      resolve();
    }
    request
      .on('data', (chunk: Buffer) => {
        discarded += chunk.length;
        if (discarded > maxBytes) finish();
      })
      .once('end', finish)
      .once('close', finish)
      .resume();
  });
}

function rawAnswer(
  status: Refusal['status'],
  encoding: Encoding,
  body: Buffer,
  headers: Readonly<Record<string, string>>,
): Buffer {
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `content-type: ${CONTENT_TYPE[encoding]}`,
    `content-length: ${body.length}`,
    `date: ${new Date().toUTCString()}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}
