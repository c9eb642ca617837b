import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { readExportResponse } from '../../src/otlp/response.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { BODIES, VALUES } from './client-bodies.ts';
import { HEADS } from './client-heads.ts';
import type { Report } from './client-report.ts';
import { readAnswer, readRawAnswer, startTestReceiver, statusOf } from './harness.ts';
import type { Answer, TestReceiver } from './harness.ts';

type Stored = { resourceSpans: { scopeSpans: { spans: object[] }[] }[] };

function spansIn({ queue }: TestReceiver): object[] {
  return queue.records
    .map(({ payload }) => tracesToJson(payload) as Stored)
    .flatMap(({ resourceSpans }) => resourceSpans)
    .flatMap(({ scopeSpans }) => scopeSpans)
    .flatMap(({ spans }) => spans);
}

/** Empty where there is none. */
function messageOf(answer: Answer): string {
  if (answer.status !== 200) return statusOf(answer).message;
  const response = readExportResponse(answer.headers['content-type'], answer.body);
  return response.ok ? (response.message ?? '') : `no answer of OTLP: ${response.reason}`;
}

async function send({ open }: TestReceiver, { request }: Report): Promise<Answer> {
  const { isChunked = false, body, ...options } = request;
  const type = { 'content-type': 'application/x-protobuf' };
  const sent = open({
    ...options,
    headers: options.method === undefined ? { ...type, ...options.headers } : options.headers!,
  });
  if (isChunked) sent.write(body!.subarray(0, 7));
  sent.end(isChunked ? body!.subarray(7) : body);
  return readAnswer(sent);
}

const REPORTS = [...HEADS, ...VALUES, ...BODIES].map(
  (report) => [`${report.sends} (${report.reported})`, report] as const,
);

describe('what clients were reported to send', () => {
  test.each(REPORTS)('%s', async (_, report) => {
    const relay = await startTestReceiver({ plaintext: true });
    const answer = await send(relay, report);
    const { status = 200, headers = {}, message = /^$/, stored } = report;
    expect([answer.status, messageOf(answer)]).toEqual([status, expect.stringMatching(message)]);
    expect(answer.headers).toMatchObject(headers);
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    expect(spansIn(relay)).toMatchObject(stored);
  });

  test('gRPC over HTTP/2 (google-gemini/gemini-cli#3707, open-telemetry/opentelemetry-java#2961)', async () => {
    const { receiver, queue } = await startTestReceiver({ plaintext: true });
    const socket = connect(receiver.port, '127.0.0.1');
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    const answer = await readRawAnswer(socket);
    expect([answer.status, statusOf(answer).message]).toEqual([400, expect.stringMatching(/HTTP\/2.*gRPC/)]);
    expect(queue.records).toEqual([]);
  });
});
