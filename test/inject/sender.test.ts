import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { createSender } from '../../src/inject/sender.ts';
import { encodeExportResponse, encodeStatus } from '../../src/otlp/response.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';

type Answer = { status: number; body?: Buffer | string; headers?: Record<string, string> };

const PROTOBUF = { 'content-type': 'application/x-protobuf' };
const TAKEN: Answer = { status: 200, body: encodeExportResponse('protobuf'), headers: PROTOBUF };
const BUSY: Answer = {
  status: 503,
  body: encodeStatus('protobuf', 14, 'the queue is full'),
  headers: { ...PROTOBUF, 'retry-after': '0' },
};

/** A server with these answers, one after the other, and what it was sent. */
async function relayWith(...answers: readonly Answer[]) {
  const left = [...answers];
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('latin1').on('data', (text: string) => (body += text));
    request.on('end', () => {
      bodies.push(body);
      const answer = left.shift() ?? { status: 500 };
      response.writeHead(answer.status, answer.headers).end(answer.body);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`);
  const sender = createSender({ url, tls: {} }, pino({ level: 'silent' }), new AbortController().signal);
  onTestFinished(async () => {
    await sender.close();
    server.close();
  });
  return { url, bodies, sender };
}

const LATER = Number.POSITIVE_INFINITY;
const PAYLOAD = Buffer.from('spans');

test('what is refused for now is sent again, and as it was', async () => {
  const { bodies, sender } = await relayWith(BUSY, { ...BUSY, status: 429 }, TAKEN);
  expect(await sender.send(PAYLOAD, LATER)).toEqual({ kind: 'taken' });
  expect(bodies).toEqual(['spans', 'spans', 'spans']);
});

test('not beyond the deadline', async () => {
  const { url, bodies, sender } = await relayWith(
    { ...BUSY, headers: { ...PROTOBUF, 'retry-after': '60' } },
    TAKEN,
  );
  expect(await sender.send(PAYLOAD, performance.now() + 10_000)).toEqual({
    kind: 'refused',
    reason: `${url.href} answers 503: the queue is full`,
  });
  expect(bodies).toHaveLength(1);
});

test.each<[string, Answer, string]>([
  [
    'for good',
    { status: 400, body: encodeStatus('protobuf', 3, 'not OTLP'), headers: PROTOBUF },
    'answers 400: not OTLP',
  ],
  ['in plain text', { status: 403, body: 'go away\n' }, 'answers 403: go away'],
  ['without a word', { status: 404 }, 'answers 404'],
  [
    'by a page',
    { status: 200, body: '<html>', headers: { 'content-type': 'text/html' } },
    'answers 200 without an OTLP response',
  ],
  [
    'in part',
    {
      status: 200,
      body: encodeExportResponse('protobuf', { rejectedSpans: 2, message: 'span 0: no trace id' }),
      headers: PROTOBUF,
    },
    'has rejected 2 spans: span 0: no trace id',
  ],
])('what is refused %s is not sent again', async (_, answer, words) => {
  const { bodies, sender } = await relayWith(answer, TAKEN);
  const result = await sender.send(PAYLOAD, LATER);
  expect(result).toEqual({ kind: 'refused', reason: expect.stringContaining(words) as string });
  expect(bodies).toHaveLength(1);
});

test('nobody there is a refusal in words', async () => {
  const url = new URL('http://127.0.0.1:1/v1/traces');
  const sender = createSender({ url, tls: {} }, pino({ level: 'silent' }), new AbortController().signal);
  onTestFinished(() => sender.close());
  expect(await sender.send(PAYLOAD, LATER)).toEqual({
    kind: 'refused',
    reason: 'nothing listens at 127.0.0.1:1 (connection refused)',
  });
});

test('a relay over TLS that is asked without, or without its CA: what to set is said', async () => {
  const ca = await createCertificateAuthority('ca');
  const pair = await ca.issue({ commonName: 'relay', ips: ['127.0.0.1'], usage: 'server' });
  const server = createTlsServer({ cert: pair.certPem, key: pair.keyPem }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const [scheme, words] of [
    [
      'http',
      'closed the connection before its answer was complete; if it accepts only TLS, its URL begins with https://',
    ],
    ['https', ': set --ca-file or OTEL_EXPORTER_OTLP_CERTIFICATE to the certificate of its CA'],
  ] as const) {
    const url = new URL(`${scheme}://${host}/v1/traces`);
    const sender = createSender({ url, tls: {} }, pino({ level: 'silent' }), new AbortController().signal);
    onTestFinished(() => sender.close());
    expect(await sender.send(PAYLOAD, LATER)).toEqual({
      kind: 'refused',
      reason: expect.stringContaining(words) as string,
    });
  }
});
