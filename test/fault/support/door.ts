import { once } from 'node:events';
import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { spansByTrace } from '../../e2e/support/spans-of.ts';

/** A request that came to the door. Times are of `performance.now()`. */
export type Knock = {
  readonly what: string;
  readonly at: number;
  answeredAt: number | undefined;
  status: number | undefined;
  /** For each trace in it, in hex, how many spans; empty of a probe. */
  readonly spansByTrace: ReadonlyMap<string, number>;
  /** It came before the time was over that an answer had asked for. */
  readonly isTooEarly: boolean;
};

export type Door = {
  readonly url: string;
  readonly knocks: readonly Knock[];
  /** When it was opened last. */
  readonly openedAt: number;
  /** Nobody listens: connections are refused, and those that are there are broken. */
  shut(): Promise<void>;
  /** Answers 503 with this `Retry-After`. */
  askToWait(seconds: number): void;
  open(): Promise<void>;
};

/** The door of an upstream, which can be away and come back at a known moment. Ends with the test. */
export async function openDoor(upstreamUrl: string): Promise<Door> {
  const knocks: Knock[] = [];
  let retryAfter: number | undefined;
  let quietUntil = 0;
  let openedAt = performance.now();

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', headers, url = '/' } = request;
    const at = performance.now();
    const isTooEarly = at < quietUntil;
    const seconds = retryAfter;
    // From here on, and not from when the client has it: what it may not do is begin earlier.
    if (seconds !== undefined) quietUntil = at + seconds * 1000;
    const body = await buffer(request);
    const isTraces = url === '/v1/traces';
    const knock: Knock = {
      what: `${method} ${url}`,
      at,
      answeredAt: undefined,
      status: undefined,
      spansByTrace: isTraces ? spansByTrace(headers, body) : new Map(),
      isTooEarly,
    };
    knocks.push(knock);
    if (seconds !== undefined) {
      knock.status = 503;
      knock.answeredAt = performance.now();
      response.writeHead(503, { 'retry-after': String(seconds) }).end();
      return;
    }
    const outgoing = forward(new URL(url, upstreamUrl), { method, headers, agent: false });
    outgoing.end(body);
    const [answered] = (await once(outgoing, 'response')) as [IncomingMessage];
    const answerBody = await buffer(answered);
    knock.status = answered.statusCode ?? 502;
    knock.answeredAt = performance.now();
    response.writeHead(knock.status, answered.headers).end(answerBody);
  }

  let server: Server | undefined;
  let port = 0;
  async function open(): Promise<void> {
    retryAfter = undefined;
    if (server === undefined) {
      server = createServer((request, response) => {
        answer(request, response).catch(() => response.destroy());
      });
      await once(server.listen(port, '127.0.0.1'), 'listening');
      ({ port } = server.address() as AddressInfo);
    }
    openedAt = performance.now();
  }
  async function shut(): Promise<void> {
    const closing = server;
    server = undefined;
    if (closing === undefined) return;
    const closed = once(closing.close(), 'close');
    closing.closeAllConnections();
    await closed;
  }

  await open();
  onTestFinished(shut);
  return {
    url: `http://127.0.0.1:${port}`,
    knocks,
    get openedAt() {
      return openedAt;
    },
    shut,
    askToWait(seconds) {
      retryAfter = seconds;
    },
    open,
  };
}
