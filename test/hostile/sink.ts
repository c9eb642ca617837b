import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { Reader } from 'protobufjs';
import { BAD_MARK, GOOD_MARK } from './bodies.ts';

/*
 * A process that stands where MLflow and its issuer would. It takes traces, or refuses requests with a bad one among
 * them, and notes when each good one came.
 */

/** Its parent tells it once. */
export type SinkOrder = {
  /** How long each request takes. */
  readonly delayMs: number;
};
export type SinkNews = { readonly url: string };
/** Of `GET /seen`. */
export type Seen = {
  requests: number;
  /** Of requests with traces, before decompression and behind it. */
  wireBytes: number;
  bytes: number;
  /** Of other senders than the good one. */
  otherSpans: number;
  /** Numbers of good traces, and when they came (Unix time, ms). */
  good: [number, number][];
};

const TOKEN = 'hostile-token';
const gunzipAsync = promisify(gunzip);
const seen: Omit<Seen, 'good'> = { requests: 0, wireBytes: 0, bytes: 0, otherSpans: 0 };
const good = new Map<number, number>();
let delayMs = 0;

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await buffer(request);
  const { pathname } = new URL(request.url ?? '/', 'http://sink');
  switch (pathname) {
    case '/v1/traces':
      if (request.headers.authorization !== `Bearer ${TOKEN}`) return sendJson(response, 401, {});
      return take(request.headers['content-encoding'] === 'gzip', body, response);
    case '/.well-known/openid-configuration':
      return sendJson(response, 200, { issuer: origin(), token_endpoint: `${origin()}/token` });
    case '/token':
      return sendJson(response, 200, { access_token: TOKEN, token_type: 'Bearer', expires_in: 3600 });
    case '/api/2.0/mlflow/experiments/get':
      return sendJson(response, 200, {
        experiment: { experiment_id: '1', name: 'hostile', lifecycle_stage: 'active' },
      });
    case '/seen':
      return sendJson(response, 200, { ...seen, good: [...good] } satisfies Seen);
    default:
      return sendJson(response, 404, {});
  }
}

async function take(isGzip: boolean, body: Buffer, response: ServerResponse): Promise<void> {
  const request = isGzip ? await gunzipAsync(body) : body;
  seen.requests++;
  seen.wireBytes += body.length;
  seen.bytes += request.length;
  const traces = { good: new Set<number>(), hasBad: false, others: 0 };
  read(request, 0, traces);
  await pause(delayMs);
  if (traces.hasBad) {
    // In MLflow's words; it is one of those that are about a span, and stay.
    const message = "'Session ID' exceeds the maximum length of 250 characters";
    sendJson(response, 400, { error_code: 'INVALID_PARAMETER_VALUE', message });
    return;
  }
  const now = Date.now();
  for (const index of traces.good) if (!good.has(index)) good.set(index, now);
  seen.otherSpans += traces.others;
  response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
}

/** ExportTraceServiceRequest.resource_spans = 1, ResourceSpans.scope_spans = 2, ScopeSpans.spans = 2. */
const PATH = [1, 2, 2];
/** Tag and length of a trace id, which all senders here write first. */
const ID_AT = 2;

function read(
  message: Uint8Array,
  depth: number,
  traces: { good: Set<number>; hasBad: boolean; others: number },
): void {
  const reader = Reader.create(message);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag !== (((PATH[depth] as number) << 3) | 2)) {
      reader.skipType(tag & 7);
      continue;
    }
    const inner = reader.bytes();
    if (depth < PATH.length - 1) {
      read(inner, depth + 1, traces);
      continue;
    }
    const span = Buffer.from(inner.buffer, inner.byteOffset, inner.length);
    const mark = span.readUInt32BE(ID_AT);
    if (mark === GOOD_MARK) traces.good.add(span.readUInt32BE(ID_AT + 12));
    else traces.others++;
    if (mark === BAD_MARK) traces.hasBad = true;
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
});
const origin = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
server.keepAliveTimeout = 60_000;

process.once('message', (order: SinkOrder) => {
  ({ delayMs } = order);
  server.listen(0, '127.0.0.1', () => process.send?.({ url: origin() } satisfies SinkNews));
});
// The run is gone.
process.once('disconnect', () => process.exit());
