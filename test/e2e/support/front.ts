import { once } from 'node:events';
import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';

/** What stands in front of MLflow: lets all pass, breaks connections off, or shows its login page in MLflow's place. */
export type FrontMode = 'open' | 'closed' | 'login';

export type Front = {
  readonly url: string;
  /** Requests that were broken off or shown the login page. */
  readonly held: () => number;
  set(mode: FrontMode): void;
  /** From now on it takes none of the tokens that it has let pass, and answers them so. */
  forget(answer: (response: ServerResponse) => void): void;
};

const LOGIN_PAGE = '<!doctype html>\n<title>Log in</title>\n<form method="post"><input name="user"></form>\n';

/** Listens in front of MLflow, as a proxy of a company does. Ends with the test. */
export async function startFront(mlflowUrl: string, initial: FrontMode): Promise<Front> {
  let mode = initial;
  let held = 0;
  const passed = new Set<string | undefined>();
  let forgotten:
    { tokens: ReadonlySet<string | undefined>; answer: (response: ServerResponse) => void } | undefined;

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', headers, url = '/' } = request;
    const outgoing = forward(new URL(url, mlflowUrl), { method, headers, agent: false });
    outgoing.end(await buffer(request));
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    response.writeHead(answer.statusCode ?? 502, answer.headers).end(await buffer(answer));
  }

  const server = createServer((request, response) => {
    const { authorization } = request.headers;
    if (forgotten?.tokens.has(authorization) === true) {
      request.resume();
      forgotten.answer(response);
      return;
    }
    if (mode === 'open') {
      passed.add(authorization);
      pass(request, response).catch(() => response.destroy());
      return;
    }
    held += 1;
    if (mode === 'closed') request.destroy();
    else response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(LOGIN_PAGE);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(async () => {
    server.closeAllConnections();
    await once(server.close(), 'close');
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    held: () => held,
    set(next) {
      mode = next;
    },
    forget(answer) {
      forgotten = { tokens: new Set(passed), answer };
    },
  };
}
