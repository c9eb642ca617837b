import { readFile } from 'node:fs/promises';
import { Pool } from 'undici';
import { requestsOf } from './shapes.ts';
import type { Shape } from './shapes.ts';

/*
 * A process that sends the requests of a shape over mutual TLS, one after the other, each once: whatever but a 200 is
 * answered ends it.
 */

export type ShapeOrder = {
  url: string;
  caFile: string;
  certFile: string;
  keyFile: string;
  shape: Shape;
  spans: number;
};
/** How many spans were taken so far, or what has gone wrong. */
export type ShapeNews = { sent: number } | { error: string };

async function send(order: ShapeOrder): Promise<void> {
  const [ca, cert, key] = await Promise.all(
    [order.caFile, order.certFile, order.keyFile].map((file) => readFile(file)),
  );
  const pool = new Pool(order.url, { connections: 1, connect: { ca, cert, key } });
  let sent = 0;
  for (const { body, spans } of requestsOf(order.shape, order.spans)) {
    const headers = { 'content-type': 'application/x-protobuf' };
    const answer = await pool.request({ method: 'POST', path: '/v1/traces', headers, body });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`answered ${answer.statusCode}: ${text}`);
    sent += spans;
    process.send?.({ sent } satisfies ShapeNews);
  }
  await pool.close();
}

process.once('message', (order: ShapeOrder) => {
  send(order).catch((error: unknown) => process.send?.({ error: String(error) } satisfies ShapeNews));
});
// The test is gone, or has what it wants.
process.once('disconnect', () => process.exit());
