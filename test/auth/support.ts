import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { ServerOptions } from 'node:https';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import type { IssuerOptions } from '../../src/auth/issuer-client.ts';
import type { Logger } from '../../src/telemetry/logger.ts';

/** A real server on the loopback interface; everything it does is the handler's. */
export type TestServer = { readonly url: string; readonly port: number; stop(): Promise<void> };

export async function startServer(handler: RequestListener, tls?: ServerOptions): Promise<TestServer> {
  const server = tls === undefined ? createServer(handler) : createTlsServer(tls, handler);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${address.port}`,
    port: address.port,
    async stop() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A client named relay of this issuer, and nothing else that could be set. */
export function issuerOptions(issuer: string): IssuerOptions {
  return {
    issuer,
    discoveryUrl: undefined,
    clientId: 'relay',
    scope: undefined,
    audience: undefined,
    resource: undefined,
    caFile: undefined,
    allowHttp: false,
    timeoutMs: 10_000,
  };
}

export type IssuerBehaviour = {
  metadata?: (request: IncomingMessage, response: ServerResponse) => void;
  token?: (form: URLSearchParams, response: ServerResponse, request: IncomingMessage) => void;
  tls?: ServerOptions;
};

/** An issuer that answers as told, where a well-behaved one will not do. Counts what it was asked. */
export async function startIssuer(behaviour: IssuerBehaviour) {
  const asked = { metadata: 0, token: 0 };
  const server = await startServer(async (request, response) => {
    if (request.url === '/.well-known/openid-configuration') {
      asked.metadata += 1;
      if (behaviour.metadata !== undefined) behaviour.metadata(request, response);
      else sendJson(response, 200, { issuer: server.url, token_endpoint: `${server.url}/token` });
      return;
    }
    asked.token += 1;
    const form = new URLSearchParams(await text(request));
    if (behaviour.token !== undefined) behaviour.token(form, response, request);
    else sendJson(response, 200, { access_token: `t${asked.token}`, token_type: 'Bearer', expires_in: 300 });
  }, behaviour.tls);
  return { ...server, asked };
}

/** A server that never closes a connection by itself. */
export function keepOpen({ socket }: IncomingMessage): void {
  (socket as Socket & { server: Server }).server.keepAliveTimeout = 0;
}

export function sendJson(response: ServerResponse, status: number, body: unknown, headers = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

export function sendHtml(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' });
  response.end('<!doctype html><title>Log in</title>');
}

/** A logger whose lines can be looked at. */
export function memoryLog(): { log: Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { log, lines };
}
