import { once } from 'node:events';
import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { spansOf } from './spans-of.ts';

export type Gate = {
  readonly url: string;
  /** Statuses that requests with spans were answered, in that order. */
  readonly statuses: readonly number[];
  /** Requests with spans wait from now on. */
  close(): void;
  /** How many wait. */
  waiting(): number;
  /** Those that wait go on, all at once, and later ones at once. */
  open(): void;
};

/** A gate before MLflow, open at first; what passes is not changed. It ends with the test. */
export async function startGate(mlflowUrl: string): Promise<Gate> {
  const statuses: number[] = [];
  let isClosed = false;
  let waiting = 0;
  let opening = Promise.withResolvers<void>();

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', headers, url = '/' } = request;
    const body = await buffer(request);
    const hasSpans = url === '/v1/traces' && spansOf(headers, body).length > 0;
    if (hasSpans && isClosed) {
      waiting++;
      await opening.promise;
      waiting--;
    }
    const outgoing = forward(new URL(url, mlflowUrl), { method, headers, agent: false });
    outgoing.end(body);
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    const answerBody = await buffer(answer);
    const status = answer.statusCode ?? 502;
    if (hasSpans) statuses.push(status);
    response.writeHead(status, answer.headers).end(answerBody);
  }

  const server = createServer((request, response) => {
    pass(request, response).catch(() => response.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const open = () => {
    isClosed = false;
    opening.resolve();
  };
  onTestFinished(async () => {
    open();
    server.closeAllConnections();
    await once(server.close(), 'close');
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    statuses,
    close() {
      isClosed = true;
      opening = Promise.withResolvers();
    },
    waiting: () => waiting,
    open,
  };
}
