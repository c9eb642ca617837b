import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { Reader } from 'protobufjs';

/*
 * A process that stands where MLflow and its issuer would: it gives tokens, wants them, takes traces at once, and
 * counts their spans. It tells its parent its address, and at each order when a number of spans was reached.
 */

/** From the parent: begin to count anew, and say when there are so many. */
export type SinkOrder = { expect: number };
export type SinkNews =
  | { url: string }
  /** Unix time, ms. */
  | { reachedAt: number };
export type SinkCount = { spans: number; requests: number };

const TOKEN = 'bench-token';
let count: SinkCount = { spans: 0, requests: 0 };
let expected = Number.POSITIVE_INFINITY;

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await buffer(request);
  const { pathname } = new URL(request.url ?? '/', 'http://sink');
  switch (pathname) {
    case '/v1/traces':
      if (request.headers.authorization !== `Bearer ${TOKEN}`) return sendJson(response, 401, {});
      // Before the answer: what cannot be read is an error of the measuring, and the connection is cut.
      take(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body);
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      return undefined;
    case '/.well-known/openid-configuration':
      return sendJson(response, 200, { issuer: origin(), token_endpoint: `${origin()}/token` });
    case '/token':
      return sendJson(response, 200, { access_token: TOKEN, token_type: 'Bearer', expires_in: 3600 });
    case '/api/2.0/mlflow/experiments/get':
      return sendJson(response, 200, {
        experiment: { experiment_id: '1', name: 'bench', lifecycle_stage: 'active' },
      });
    case '/count':
      return sendJson(response, 200, count);
    default:
      return sendJson(response, 404, {});
  }
}

function take(request: Uint8Array): void {
  count.requests++;
  count.spans += spansIn(request, 0);
  if (count.spans < expected) return;
  expected = Number.POSITIVE_INFINITY;
  tell({ reachedAt: Date.now() });
}

/** ExportTraceServiceRequest.resource_spans = 1, ResourceSpans.scope_spans = 2, ScopeSpans.spans = 2. */
const PATH = [1, 2, 2];

function spansIn(message: Uint8Array, depth: number): number {
  const reader = Reader.create(message);
  let spans = 0;
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag !== (((PATH[depth] as number) << 3) | 2)) reader.skipType(tag & 7);
    else if (depth === PATH.length - 1) {
      reader.skipType(2);
      spans++;
    } else {
      spans += spansIn(reader.bytes(), depth + 1);
    }
  }
  return spans;
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function tell(news: SinkNews): void {
  process.send?.(news);
}

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
});
const origin = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => tell({ url: origin() }));

process.on('message', ({ expect }: SinkOrder) => {
  count = { spans: 0, requests: 0 };
  expected = expect;
});
// The benchmark is gone.
process.once('disconnect', () => process.exit());
