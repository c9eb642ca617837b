import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { Reader } from 'protobufjs';

/*
 * A process that stands where MLflow would where there is more than MLflow can take in the time of a test: it takes
 * traces at once, and notes in how many requests each came. It is away until its parent lets it come.
 */

/** From the parent: whether it is there. */
export type SinkOrder = { isThere: boolean };
/** Once the order is carried out. */
export type SinkNews = { url: string };
/** Of `GET /seen`; times are Unix times in ms. */
export type Seen = {
  /** By a probe or a batch, since it came. */
  firstRequestAt: number | undefined;
  firstBatchAt: number | undefined;
  spans: number;
  /** Traces by how many of their spans came. */
  tracesBySpans: [number, number][];
  /** Traces that came in more than one request. */
  split: number;
};

const gunzipAsync = promisify(gunzip);
const traces = new Map<string, { requests: number; spans: number }>();
let firstRequestAt: number | undefined;
let firstBatchAt: number | undefined;
let spansSeen = 0;

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url ?? '', 'http://sink');
  if (pathname === '/seen') return sendJson(response, seen());
  firstRequestAt ??= Date.now();
  const body = await buffer(request);
  if (pathname === '/v1/traces') {
    take(request.headers['content-encoding'] === 'gzip' ? await gunzipAsync(body) : body);
    if (isGoing) response.setHeader('connection', 'close');
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    return undefined;
  }
  // The one thing else that a relay with the id of an experiment asks.
  return sendJson(response, {
    experiment: { experiment_id: '1', name: 'sink', lifecycle_stage: 'active' },
  });
}

function seen(): Seen {
  const bySpans = new Map<number, number>();
  let split = 0;
  for (const { requests, spans } of traces.values()) {
    bySpans.set(spans, (bySpans.get(spans) ?? 0) + 1);
    if (requests > 1) split++;
  }
  return { firstRequestAt, firstBatchAt, spans: spansSeen, tracesBySpans: [...bySpans], split };
}

function take(request: Uint8Array): void {
  const counts = new Map<string, number>();
  count(request, 0, counts);
  if (counts.size > 0) firstBatchAt ??= Date.now();
  for (const [traceId, spans] of counts) {
    spansSeen += spans;
    const trace = traces.get(traceId);
    if (trace === undefined) {
      traces.set(traceId, { requests: 1, spans });
    } else {
      trace.requests++;
      trace.spans += spans;
    }
  }
}

/** ExportTraceServiceRequest.resource_spans = 1, ResourceSpans.scope_spans = 2, ScopeSpans.spans = 2, Span.trace_id = 1. */
const PATH = [1, 2, 2, 1];

function count(message: Uint8Array, depth: number, counts: Map<string, number>): void {
  const reader = Reader.create(message);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag !== (((PATH[depth] as number) << 3) | 2)) {
      reader.skipType(tag & 7);
      continue;
    }
    const inner = reader.bytes();
    if (depth < PATH.length - 1) {
      count(inner, depth + 1, counts);
      continue;
    }
    const traceId = Buffer.from(inner).toString('hex');
    counts.set(traceId, (counts.get(traceId) ?? 0) + 1);
    return;
  }
}

function sendJson(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

let server: Server | undefined;
/** What is in hand is answered: an answer that is lost would make its spans come twice. */
let isGoing = false;
let port = 0;

function tell(): void {
  process.send?.({ url: `http://127.0.0.1:${port}` } satisfies SinkNews);
}

process.on('message', ({ isThere }: SinkOrder) => {
  isGoing = !isThere;
  if (isThere) {
    firstRequestAt = undefined;
    firstBatchAt = undefined;
    const opened = createServer((request, response) => {
      answer(request, response).catch(() => response.destroy());
    });
    server = opened;
    opened.listen(port, '127.0.0.1', () => {
      ({ port } = opened.address() as AddressInfo);
      tell();
    });
  } else {
    server?.close(tell);
  }
});
// The test is gone.
process.once('disconnect', () => process.exit());
