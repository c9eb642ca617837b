// Asks an upstream that answers 4 MiB of the same, as a relay asks it, and prints what came of it.
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { createHttpClient } from '../../src/destinations/http-client.ts';
import { readTracesAnswer } from '../../src/destinations/mlflow-answers.ts';

const SIZE = 4 * 1024 * 1024;
const body = Buffer.alloc(SIZE, '[').fill(process.argv[2] ?? '', 1);

const server = createServer((request, response) => {
  response.writeHead(Number(request.url?.slice(1)), { 'content-type': 'application/json' }).end(body);
});
await once(server.listen(0, '127.0.0.1'), 'listening');
const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const http = createHttpClient(
  { name: 'mlflow', tls: {}, timeoutMs: 60_000, maxResponseSize: SIZE },
  pino({ level: 'silent' }),
);

const outcomes: unknown[] = [];
for (const status of [200, 500, 503]) {
  const url = new URL(`${base}/${status}`);
  const headers = { authorization: 'Bearer a-token-of-some-length' };
  const result = await http.ask({ method: 'POST', url, headers }, new AbortController().signal);
  const outcome = readTracesAnswer(result, { url, experiment: 'e', account: 'a', now: 0 });
  outcomes.push({ status, ...outcome });
}
await http.close();
server.closeAllConnections();
server.close();
process.stdout.write(JSON.stringify(outcomes));
