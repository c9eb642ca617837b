import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request as forward } from 'node:https';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { clientFiles } from './relay.ts';
import type { Stack } from './stack.ts';

/** A request as a client made it, and how it was answered. */
export type SeenRequest = {
  path: string;
  contentType: string | undefined;
  contentEncoding: string | undefined;
  status: number;
};

export type TlsTap = { readonly url: string; readonly requests: readonly SeenRequest[] };

/**
 * Listens between a client and the relay with the relay's own certificate, asks for the client's, and passes requests
 * on with it and otherwise as they are. Ends with the test.
 */
export async function tapTls(relayUrl: string, stack: Stack): Promise<TlsTap> {
  const { caFile, certFile, keyFile } = clientFiles(stack);
  const ca = await readFile(caFile);
  const asClient = { ca, cert: await readFile(certFile), key: await readFile(keyFile) };
  const asServer = {
    ca,
    cert: await readFile(stack.certificates.certFile),
    key: await readFile(stack.certificates.keyFile),
    requestCert: true,
  };
  const requests: SeenRequest[] = [];

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, headers, url: path = '' } = request;
    const body = await buffer(request);
    const outgoing = forward(new URL(path, relayUrl), {
      ...asClient,
      ...(method && { method }),
      headers,
      agent: false,
    });
    outgoing.end(body);
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    const answerBody = await buffer(answer);
    const status = answer.statusCode ?? 0;
    const { 'content-type': contentType, 'content-encoding': contentEncoding } = headers;
    requests.push({ path, contentType, contentEncoding, status });
    response.writeHead(status, answer.headers).end(answerBody);
  }

  const server = createServer(asServer, (request, response) => {
    pass(request, response).catch(() => response.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(async () => {
    server.closeAllConnections();
    await once(server.close(), 'close');
  });
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}
