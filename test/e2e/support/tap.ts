import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { spansByTrace as countByTrace } from './spans-of.ts';

/** A request to /v1/traces that MLflow has answered. */
export type TappedRequest = {
  status: number;
  /** For each trace in it, in hex, how many spans. */
  spansByTrace: Map<string, number>;
};

export type Tap = {
  readonly url: string;
  readonly requests: readonly TappedRequest[];
  /** Traces that were in two requests at the same time; there should be none. */
  readonly overlapping: ReadonlySet<string>;
  /** Traces that came again before the relay had given up the request that they were in. */
  readonly tooEarly: ReadonlySet<string>;
  /** Requests to /v1/traces that MLflow is at work on, whether or not the relay still waits for the answer. */
  pending(): number;
};

/** Listens between the relay and MLflow, and changes nothing of what passes. Ends with the test. */
export async function tapInto(mlflowUrl: string): Promise<Tap> {
  const requests: TappedRequest[] = [];
  const overlapping = new Set<string>();
  const tooEarly = new Set<string>();
  const underWay = new Set<string>();
  const waitedFor = new Set<string>();
  let pending = 0;

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    const isTraces = request.url === '/v1/traces';
    const spansByTrace = isTraces ? countByTrace(request.headers, body) : new Map<string, number>();
    for (const traceId of spansByTrace.keys()) {
      if (underWay.has(traceId)) overlapping.add(traceId);
      underWay.add(traceId);
      if (waitedFor.has(traceId)) tooEarly.add(traceId);
      waitedFor.add(traceId);
    }
    response.once('close', () => spansByTrace.forEach((_, traceId) => waitedFor.delete(traceId)));
    if (isTraces) pending++;
    const { method, headers, url = '' } = request;
    const outgoing = forward(new URL(url, mlflowUrl), { ...(method && { method }), headers });
    outgoing.end(body);
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    const answerBody = await buffer(answer);
    for (const traceId of spansByTrace.keys()) underWay.delete(traceId);
    const status = answer.statusCode ?? 0;
    if (isTraces) pending--;
    if (isTraces) requests.push({ status, spansByTrace });
    response.writeHead(status, answer.headers).end(answerBody);
  }

  const server = createServer((request, response) => {
    pass(request, response).catch(() => response.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(async () => {
    server.closeAllConnections();
    await once(server.close(), 'close');
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    overlapping,
    tooEarly,
    pending: () => pending,
  };
}
