import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { spansOf } from '../../e2e/support/spans-of.ts';

/** A request with spans that reached MLflow whole and that MLflow has answered. */
export type AnsweredRequest = {
  readonly status: number;
  /** Each span as `<trace id>/<span id>`, in hex, sorted. */
  readonly spans: readonly string[];
  /** Its place in the order in which requests came. */
  readonly order: number;
  /** Of the answer, with its head; 0 until it was written. */
  answerBytes: number;
  /** The client has used the connection again, which it does only with the whole answer in hand. */
  hasArrived: boolean;
};

export type CountingTap = {
  readonly url: string;
  readonly port: number;
  /** In the order of MLflow's answers. */
  readonly requests: readonly AnsweredRequest[];
  /** Requests to /v1/traces that ended within their body; MLflow has seen nothing of them. */
  readonly cutRequests: () => number;
  /** Requests that MLflow has not answered yet; their clients may be gone. */
  readonly underWay: () => number;
  /** Of the clients. */
  closeConnections(): void;
  close(): Promise<void>;
};

/**
 * Listens at MLflow's door and changes nothing of what passes but how long connections live. It takes MLflow's answer also where the client is gone
 * meanwhile, so that it knows all that MLflow has taken, however often.
 */
export async function startCountingTap(mlflowUrl: string): Promise<CountingTap> {
  const requests: AnsweredRequest[] = [];
  const lastOf = new WeakMap<Socket, AnsweredRequest>();
  let came = 0;
  let cut = 0;
  let underWay = 0;

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isTraces = request.url === '/v1/traces';
    const { method = 'GET', headers, url = '', socket } = request;
    const order = ++came;
    const before = lastOf.get(socket);
    if (before !== undefined) before.hasArrived = true;
    const body = await buffer(request).catch((error: unknown) => {
      if (isTraces) cut++;
      throw error;
    });
    const answer = await ask(new URL(url, mlflowUrl), { method, headers, body });
    const bytesBefore = socket.bytesWritten;
    const spans = isTraces ? readSpans(headers, body) : [];
    if (spans.length > 0) {
      const answered = { status: answer.status, spans, order, answerBytes: 0, hasArrived: false };
      requests.push(answered);
      lastOf.set(socket, answered);
      response.once('finish', () => (answered.answerBytes = socket.bytesWritten - bytesBefore));
    }
    response.writeHead(answer.status, answer.headers).end(answer.body);
  }

  const server = createServer((request, response) => {
    underWay++;
    pass(request, response)
      .catch(() => response.destroy())
      .finally(() => underWay--);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    cutRequests: () => cut,
    underWay: () => underWay,
    closeConnections: () => server.closeAllConnections(),
    async close() {
      server.closeAllConnections();
      await once(server.close(), 'close');
    },
  };
}

type Answer = { status: number; headers: IncomingMessage['headers']; body: Buffer };

async function ask(
  url: URL,
  { method, headers, body }: { method: string; headers: IncomingMessage['headers']; body: Buffer },
): Promise<Answer> {
  // A connection each: MLflow closes idle ones, which would look like a fault of its own.
  const outgoing = forward(url, { method, headers: { ...headers, connection: 'close' }, agent: false });
  outgoing.end(body);
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  const { connection: _, ...kept } = answer.headers;
  return { status: answer.statusCode ?? 0, headers: kept, body: await buffer(answer) };
}

function readSpans(headers: IncomingMessage['headers'], body: Buffer): string[] {
  return spansOf(headers, body)
    .map(({ traceId, spanId }) => `${traceId}/${spanId}`)
    .toSorted();
}
