import type { RequestListener } from 'node:http';
import { onTestFinished } from 'vitest';
import { createHttpClient } from '../../src/destinations/http-client.ts';
import type { HttpClientOptions, HttpResult } from '../../src/destinations/http-client.ts';
import { memoryLog, startServer } from '../auth/support.ts';

/** A server and a client that are gone after the test. */

export async function server(...parameters: Parameters<typeof startServer>) {
  const started = await startServer(...parameters);
  onTestFinished(() => started.stop());
  return started;
}

export function client(changes: Partial<HttpClientOptions> = {}) {
  const { log, lines } = memoryLog();
  const http = createHttpClient(
    { name: 'main', tls: {}, timeoutMs: 10_000, maxResponseSize: 1_000, ...changes },
    log,
  );
  onTestFinished(() => http.close());
  return { http, lines };
}

export async function get(url: string, changes: Partial<HttpClientOptions> = {}): Promise<HttpResult> {
  return await client(changes).http.ask(
    { method: 'GET', url: new URL(url), headers: {} },
    new AbortController().signal,
  );
}

export async function answerOf(
  handler: RequestListener,
  changes: Partial<HttpClientOptions> = {},
): Promise<HttpResult> {
  return await get((await server(handler)).url, changes);
}
