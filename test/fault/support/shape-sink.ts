import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { Reader } from 'protobufjs';
import { numberIn } from './shapes.ts';

/*
 * A process that stands where MLflow would, and takes the numbered spans of a shape. It is away until it is told to come.
 */

/** To it: how many spans there will be, at most; then, that it should come. */
export type ShapeSinkOrder = { spans: number } | 'come';
/** Of `GET /seen`. */
export type ShapesSeen = {
  /** Different ones. */
  spans: number;
  requests: number;
  /** Spans that came again. */
  repeated: number;
  traces: number;
  /** Traces that came in more than one request. */
  split: number;
  /** Times that a span of a trace came before one with a lower number. */
  outOfOrder: number;
  /** Times that a trace was in two requests at once. */
  overlapping: number;
};

/** What takes no time is never at work on two requests. */
const WORK_MS = 3;

const gunzipAsync = promisify(gunzip);
const seen: ShapesSeen = {
  spans: 0,
  requests: 0,
  repeated: 0,
  traces: 0,
  split: 0,
  outOfOrder: 0,
  overlapping: 0,
};
let hasCome = new Uint8Array();
/** By trace: the last span that came, and one more; the requests it came in, of which two are as many as more. */
let lastSpan = new Uint32Array();
let requestsOf = new Uint8Array();
const underWay = new Set<number>();

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === '/seen') return sendJson(response, seen);
  const body = await buffer(request);
  if (request.url !== '/v1/traces') {
    // The one thing else that a relay with the id of an experiment asks.
    return sendJson(response, {
      experiment: { experiment_id: '1', name: 'sink', lifecycle_stage: 'active' },
    });
  }
  const traces = new Set<number>();
  take(request.headers['content-encoding'] === 'gzip' ? await gunzipAsync(body) : body, 0, traces);
  if (traces.size > 0) seen.requests++;
  for (const trace of traces) {
    if (underWay.has(trace)) seen.overlapping++;
    underWay.add(trace);
    const requests = ++requestsOf[trace]!;
    if (requests === 1) seen.traces++;
    else if (requests === 2) seen.split++;
    requestsOf[trace] = Math.min(requests, 2);
  }
  await pause(WORK_MS);
  for (const trace of traces) underWay.delete(trace);
  response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
  return undefined;
}

/** ExportTraceServiceRequest.resource_spans = 1, ResourceSpans.scope_spans = 2, ScopeSpans.spans = 2. */
const PATH = [1, 2, 2];

function take(message: Uint8Array, depth: number, traces: Set<number>): void {
  const reader = Reader.create(message);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag !== (((PATH[depth] as number) << 3) | 2)) {
      reader.skipType(tag & 7);
      continue;
    }
    const inner = reader.bytes();
    if (depth === PATH.length - 1) traces.add(takeSpan(inner));
    else take(inner, depth + 1, traces);
  }
}

/** Of which the ids come first; returns its trace. */
function takeSpan(bytes: Uint8Array): number {
  const reader = Reader.create(bytes);
  reader.uint32();
  const trace = numberIn(reader.bytes());
  reader.uint32();
  const span = numberIn(reader.bytes());
  if (hasCome[span] === 1) seen.repeated++;
  else seen.spans++;
  hasCome[span] = 1;
  if (span + 1 < lastSpan[trace]!) seen.outOfOrder++;
  lastSpan[trace] = span + 1;
  return trace;
}

function sendJson(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
});
let port = 0;

process.on('message', (order: ShapeSinkOrder) => {
  if (order === 'come') {
    server.listen(port, '127.0.0.1', () => process.send?.('there'));
    return;
  }
  hasCome = new Uint8Array(order.spans);
  lastSpan = new Uint32Array(order.spans);
  requestsOf = new Uint8Array(order.spans);
  // Its address is known before it is there.
  server.listen(0, '127.0.0.1', () => {
    ({ port } = server.address() as AddressInfo);
    server.close(() => process.send?.({ url: `http://127.0.0.1:${port}` }));
  });
});
// The test is gone.
process.once('disconnect', () => process.exit());
