import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { Pool } from 'undici';
import { createRequestMaker } from './interleaved-requests.ts';

/*
 * A process that sends requests at a steady pace over mutual TLS until it is told to stop, each until it is answered
 * 200, and tells its parent every moment how long the answers took.
 */

export type LoadOrder = {
  url: string;
  caFile: string;
  certFile: string;
  keyFile: string;
  /** Each sends traces of its own, one request after the other. */
  connections: number;
  /** In all. */
  requestsPerSecond: number;
};
/** Since the one before; `latencies` in ms. */
export type LoadNews = { bytes: number; latencies: number[] };
/** Requests that were answered 200, by connection. */
export type LoadEnd = { requests: number[] } | { error: string };

const NEWS_EVERY_MS = 200;
const stopping = new AbortController();

async function run(order: LoadOrder): Promise<number[]> {
  const files = [order.caFile, order.certFile, order.keyFile];
  const [ca, cert, key] = await Promise.all(files.map((file) => readFile(file)));
  const pool = new Pool(order.url, {
    connections: order.connections,
    pipelining: 1,
    connect: { ca, cert, key },
  });
  const everyMs = (1000 * order.connections) / order.requestsPerSecond;
  let news: LoadNews = { bytes: 0, latencies: [] };
  const timer = setInterval(() => {
    process.send?.({ news });
    news = { bytes: 0, latencies: [] };
  }, NEWS_EVERY_MS);

  async function connection(): Promise<number> {
    const maker = createRequestMaker();
    let requests = 0;
    for (let dueAt = performance.now(); !stopping.signal.aborted; dueAt += everyMs) {
      // Behind by more than this it does not catch up: the pace is a bound.
      dueAt = Math.max(dueAt, performance.now() - 10 * everyMs);
      await pause(Math.max(0, dueAt - performance.now()));
      const body = maker.next();
      const startedAt = performance.now();
      const answer = await pool.request({
        method: 'POST',
        path: '/v1/traces',
        headers: { 'content-type': 'application/x-protobuf' },
        body,
      });
      const text = await answer.body.text();
      if (answer.statusCode !== 200) throw new Error(`answered ${answer.statusCode}: ${text}`);
      requests++;
      news.bytes += body.byteLength;
      news.latencies.push(performance.now() - startedAt);
    }
    return requests;
  }

  const requests = await Promise.all(Array.from({ length: order.connections }, connection));
  clearInterval(timer);
  process.send?.({ news });
  await pool.close();
  return requests;
}

process.once('message', (order: LoadOrder) => {
  // The next is the order to stop.
  process.once('message', () => stopping.abort());
  run(order).then(
    (requests) => process.send?.({ end: { requests } satisfies LoadEnd }),
    (error: unknown) => process.send?.({ end: { error: String(error) } satisfies LoadEnd }),
  );
});
// The test is gone, or has what it wants.
process.once('disconnect', () => process.exit());
