import zlib from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { readExportResponse } from '../../src/otlp/response.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { GOOD_IDS, join, len, requestOf } from '../otlp/bytes.ts';
import { CLIENT_URI, readAnswer, startTestReceiver, statusOf } from './harness.ts';
import type { TestReceiver } from './harness.ts';
import { tracesJson, tracesProtobuf } from './payloads.ts';

const MIB = 1024 * 1024;
const GZIP = { 'content-encoding': 'gzip' };
const JSON_TYPE = { 'content-type': 'application/json' };

/** Text that does not become much smaller. */
const noise = (bytes: number) =>
  Array.from({ length: Math.ceil(bytes / 16) }, (_, i) => `${Math.sin(i)}`.padEnd(16).slice(0, 16)).join('');

describe('what is decompressed counts', () => {
  test.each([
    ['small ones', tracesProtobuf(['a'.repeat(90_000)])],
    ['those that are read beside the event loop', tracesProtobuf([noise(90_000)])],
  ])('many compressed bodies at once: 503 beyond the bound: %s', async (_, plain) => {
    const maxRequestBodySize = 100_000;
    const { open, send, queue } = await startTestReceiver({ maxRequestBodySize });
    const body = zlib.gzipSync(plain);
    const headers = {
      'content-type': 'application/x-protobuf',
      'content-length': String(body.length),
      ...GZIP,
    };
    const held = queue.hold();
    const firsts = Array.from({ length: 4 }, () => {
      const request = open({ headers });
      request.end(body);
      return readAnswer(request);
    });
    await expect.poll(() => queue.waiting, { timeout: 10_000 }).toBe(4);
    const answer = await send({ headers: GZIP, body });
    expect(answer.status).toBe(503);
    expect(statusOf(answer).message).toContain('too many large requests');
    held.release();
    expect((await Promise.all(firsts)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await send({ headers: GZIP, body })).status).toBe(200);
  });
});

/** A client with another certificate. */
async function otherClient({ certificates }: TestReceiver) {
  const uris = ['spiffe://cluster.local/ns/other/sa/agent'];
  return certificates.ca.issue({ commonName: 'other', uris, usage: 'client' });
}

describe('room', () => {
  test('bodies that one sender does not finish keep no other sender out', async () => {
    const receiver = await startTestReceiver({ maxRequestBodySize: MIB });
    const { dial, send, queue } = receiver;
    const other = await otherClient(receiver);
    const unfinished = await Promise.all(Array.from({ length: 6 }, () => dial()));
    for (const socket of unfinished) {
      socket.on('error', () => {});
      socket.write(
        `POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${MIB}\r\n\r\n`,
      );
      socket.write(Buffer.alloc(MIB - 1));
    }
    const body = tracesProtobuf(['a'.repeat(1_000_000)]);
    // Whoever has taken the room gets no more of it.
    await expect.poll(async () => (await send({ body })).status, { timeout: 10_000 }).toBe(503);
    for (let i = 0; i < 10; i++) {
      expect((await send({ body, client: other })).status).toBe(200);
    }
    expect(queue.records).toHaveLength(10);
    for (const socket of unfinished) socket.destroy();
  });
});

describe('a resource that is too large', () => {
  const span = len(2, GOOD_IDS);
  const attribute = len(1, len(1, len(1, 'k'), len(2, len(1, 'x'.repeat(5000)))));
  const under = (...spans: Uint8Array[]) => len(1, attribute, len(2, ...spans));

  test('costs the spans under it: the others are stored, and the answer says where, how large, and what to do', async () => {
    const { send, queue, metrics } = await startTestReceiver({ maxResourceSize: 4096 });
    const body = Buffer.from(join(requestOf(GOOD_IDS), under(span, span), requestOf(GOOD_IDS)));
    const answer = await send({ body });
    expect(answer.status).toBe(200);
    const { message } = readExportResponse(answer.headers['content-type'], answer.body) as {
      message: string;
    };
    expect(message).toBe(
      `2 of 4 spans were left out, under resources or scopes of more than 4096 bytes beside their spans (receiver.max_resource_size); the first is ResourceSpans 1 (counted from 0) with ${attribute.length} bytes: move large attributes to the spans, or raise the limit`,
    );
    expect(Buffer.from(queue.records[0]!.payload)).toEqual(
      Buffer.from(join(requestOf(GOOD_IDS), requestOf(GOOD_IDS))),
    );
    expect(queue.records[0]!.spanCount).toBe(2);
    expect((await metrics.acceptedSpans.get()).values).toMatchObject([{ value: 2 }]);
    expect((await metrics.refusedSpans.get()).values).toMatchObject([
      { value: 2, labels: { reason: 'large_resource' } },
    ]);
  });

  test('and bad ids beside it: each is blamed for its own spans, and the operator is told once of each', async () => {
    const { send, lines } = await startTestReceiver({ maxResourceSize: 4096 });
    const bad = len(2, len(1, new Uint8Array(3)));
    const largeScope = len(1, len(2, len(1, len(1, 'x'.repeat(5000))), span));
    const body = Buffer.from(join(requestOf(GOOD_IDS), largeScope, under(span, span), len(1, len(2, bad))));
    for (let round = 0; round < 3; round += 1) {
      const answer = await send({ body });
      expect(answer.status).toBe(200);
      expect(readExportResponse(answer.headers['content-type'], answer.body)).toMatchObject({
        rejectedSpans: 4,
        message: expect.stringMatching(
          /^4 of 5 spans were left out: 1 with ids .*; the first is span 4 .*; 3 under resources or scopes of more than 4096 bytes .*; the first is ScopeSpans 0 of ResourceSpans 1 \(counted from 0\) with \d+ bytes: move/,
        ),
      });
    }
    const common = { level: 40, sender: CLIENT_URI, remote: '127.0.0.1', taken_spans: 1 };
    expect(lines.filter(({ msg }) => msg === 'spans left out')).toMatchObject([
      { ...common, reason: 'invalid_span', left_out_spans: 1, detail: expect.stringContaining('span 4') },
      {
        ...common,
        reason: 'large_resource',
        left_out_spans: 3,
        detail: expect.stringContaining('the first is ScopeSpans 0'),
      },
    ]);
  });

  test('costs one span: the word for one', async () => {
    const { send } = await startTestReceiver({ maxResourceSize: 4096 });
    const answer = await send({ body: Buffer.from(join(requestOf(GOOD_IDS), under(span))) });
    expect(readExportResponse(answer.headers['content-type'], answer.body)).toMatchObject({
      message: expect.stringMatching(/^1 of 2 spans was left out, under/),
    });
  });

  test('around all spans: 413, in JSON too', async () => {
    const { send, queue } = await startTestReceiver({ maxResourceSize: 4096 });
    const plain = await send({ body: Buffer.from(under(span)) });
    const attributes = [{ key: 'k', value: { stringValue: 'x'.repeat(5000) } }];
    const { resourceSpans } = JSON.parse(tracesJson(['a']).toString());
    const json = JSON.stringify({ resourceSpans: [{ ...resourceSpans[0], resource: { attributes } }] });
    for (const answer of [plain, await send({ headers: JSON_TYPE, body: Buffer.from(json) })]) {
      expect(answer.status).toBe(413);
      expect(statusOf(answer)).toEqual({
        code: 8,
        message: expect.stringMatching(/^the only span cannot be taken, .*receiver\.max_resource_size/),
      });
    }
    expect(queue.records).toEqual([]);
  });
});

test('millions of bad spans in a few bytes of gzip: the good one is stored, and others are answered meanwhile', async () => {
  const { send, queue } = await startTestReceiver({ maxRequestBodySize: 16 * MIB });
  const spans = Buffer.alloc(8_000_000).map((_, at) => (at % 2 === 0 ? 0x12 : 0));
  const body = zlib.gzipSync(Buffer.from(len(1, len(2, spans, len(2, GOOD_IDS)))));
  let areDone = false;
  const bad = Promise.all(Array.from({ length: 4 }, () => send({ headers: GZIP, body }))).finally(
    () => (areDone = true),
  );
  expect((await send({ body: tracesProtobuf(['a', 'b']) })).status).toBe(200);
  expect(areDone).toBe(false);
  for (const answer of await bad) {
    expect(answer.status).toBe(200);
    expect(readExportResponse(answer.headers['content-type'], answer.body)).toMatchObject({
      rejectedSpans: 4_000_000,
    });
  }
  const stored = queue.records.filter(({ spanCount }) => spanCount === 1);
  expect(stored).toHaveLength(4);
  expect(Buffer.from(stored[0]!.payload)).toEqual(Buffer.from(requestOf(GOOD_IDS)));
  expect(scanTraces(stored[0]!.payload)).toMatchObject({ ok: true, invalidSpanCount: 0 });
});
