import type { AddressInfo } from 'node:net';
import Fastify from 'fastify';
import { listenFailed, messageOf } from '../errors.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** What the relay says of itself; `ready` is whether it can take traces. */
export type RelayStatus = { ready: boolean; [detail: string]: unknown };

export type AdminServer = { readonly port: number; stop(): Promise<void> };

/**
 * Health, metrics and status over plain HTTP, to read only:
 * `/livez` 200; `/readyz` 200 or 503 with the status; `/status` 200 with the status; `/metrics` for Prometheus.
 * `beforeScrape` brings the gauges up to date; it is called before each reading of the metrics.
 *
 * @throws RelayError LISTEN_FAILED
 */
export async function startAdminServer(
  options: { host: string; port: number },
  deps: { metrics: Metrics; log: Logger; status: () => RelayStatus; beforeScrape: () => void },
): Promise<AdminServer> {
  const { host, port } = options;
  const { log, status, beforeScrape } = deps;
  const { registry } = deps.metrics;
  // Scrapers keep connections open; stopping does not wait for them.
  const app = Fastify({ forceCloseConnections: true, requestTimeout: 10_000, bodyLimit: 1024 });

  app.addHook('onRequest', (_request, reply, next) => {
    reply.header('cache-control', 'no-store');
    next();
  });
  app.get('/livez', () => ({ alive: true }));
  app.get('/readyz', (_request, reply) => {
    const now = status();
    return reply.code(now.ready ? 200 : 503).send(now);
  });
  app.get('/status', () => status());
  app.get('/metrics', async (_request, reply) => {
    beforeScrape();
    return reply.header('content-type', registry.contentType).send(await registry.metrics());
  });
  app.setNotFoundHandler((_request, reply) =>
    reply.code(404).send({ error: 'there is nothing here but GET /livez, /readyz, /status and /metrics' }),
  );
  app.setErrorHandler((error, request, reply) => {
    log.error({ err: error }, `${request.url} failed: ${messageOf(error)}`);
    return reply.code(500).send({ error: 'failed; the log of the relay says more' });
  });

  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw listenFailed(host, port, 'admin.listen', error);
  }
  return {
    port: (app.server.address() as AddressInfo).port,
    stop: () => app.close(),
  };
}
