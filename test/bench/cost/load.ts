import { readFile } from 'node:fs/promises';
import { Pool } from 'undici';
import { createRequestTemplate } from './requests.ts';

/*
 * A process that sends requests over mutual TLS, each connection the next when the one before was answered, and tells
 * its parent how long the answers took.
 */

export type LoadOrder = {
  url: string;
  caFile: string;
  certFile: string;
  keyFile: string;
  connections: number;
  spansPerRequest: number;
  requests: number;
};

export type LoadReport = {
  /** Unix time, ms. */
  startedAt: number;
  endedAt: number;
  /** Of the answers, ms. */
  p50: number;
  p99: number;
  /** Answers other than 200, by status; they are not sent again. */
  refused: Record<string, number>;
};

async function run(order: LoadOrder): Promise<LoadReport> {
  const { url, connections, spansPerRequest, requests } = order;
  const [ca, cert, key] = await Promise.all(
    [order.caFile, order.certFile, order.keyFile].map((f) => readFile(f)),
  );
  const pool = new Pool(url, { connections, pipelining: 1, connect: { ca, cert, key } });
  const latencies = new Float64Array(requests);
  const refused: Record<string, number> = {};
  let next = 0;

  async function connection(): Promise<void> {
    const template = createRequestTemplate(spansPerRequest);
    while (next < requests) {
      const index = next++;
      const body = template.next();
      const startedAt = performance.now();
      const answer = await pool.request({
        method: 'POST',
        path: '/v1/traces',
        headers: { 'content-type': 'application/x-protobuf' },
        body,
      });
      await answer.body.dump();
      latencies[index] = performance.now() - startedAt;
      if (answer.statusCode !== 200) refused[answer.statusCode] = (refused[answer.statusCode] ?? 0) + 1;
    }
  }

  const startedAt = Date.now();
  await Promise.all(Array.from({ length: connections }, connection));
  const endedAt = Date.now();
  await pool.close();
  latencies.sort();
  const quantile = (share: number) =>
    latencies[Math.min(requests - 1, Math.floor(requests * share))] ?? Number.NaN;
  return { startedAt, endedAt, p50: quantile(0.5), p99: quantile(0.99), refused };
}

process.once('message', (order: LoadOrder) => {
  run(order).then(
    (report) => process.send?.({ report }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
// The benchmark is gone, or has its report.
process.once('disconnect', () => process.exit());
