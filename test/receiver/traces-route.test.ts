import { connect } from 'node:net';
import zlib from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { readExportResponse } from '../../src/otlp/response.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { CLIENT_URI, ROUTE, readAnswer, readRawAnswer, startTestReceiver, statusOf } from './harness.ts';
import type { Answer } from './harness.ts';
import { COMPRESS, tracesJson, tracesProtobuf } from './payloads.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

/** RFC 8878, 3.1.1: magic number, descriptor, window of 2^n bytes, one empty last block. */
function frameOfWindow(n: number): Buffer {
  return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, (n - 10) << 3, 1, 0, 0]);
}

function exportAnswer({ headers, body }: Answer) {
  return readExportResponse(headers['content-type'], body);
}

describe('what is taken', () => {
  test('every encoding in every compression is stored as protobuf and answered in its own encoding', async () => {
    const { send, queue } = await startTestReceiver();
    const names = ['root', 'child'];
    const bodies = { protobuf: tracesProtobuf(names), json: tracesJson(names) };
    const compressions = { none: (body: Buffer) => body, identity: (body: Buffer) => body, ...COMPRESS };
    const types = { protobuf: 'application/x-protobuf', json: 'application/json; charset=utf-8' };

    for (const encoding of ['protobuf', 'json'] as const) {
      for (const [name, compress] of Object.entries(compressions)) {
        const coding: Record<string, string> = name === 'none' ? {} : { 'content-encoding': name };
        const answer = await send({
          headers: { 'content-type': types[encoding], ...coding },
          body: compress(bodies[encoding]),
        });
        expect([encoding, name, answer.status]).toEqual([encoding, name, 200]);
        expect(answer.headers['content-type']).toBe(types[encoding].split(';')[0]);
        expect(exportAnswer(answer)).toEqual({ ok: true, rejectedSpans: 0 });
        expect(scanTraces(queue.records.at(-1)!.payload)).toMatchObject({ ok: true, spanCount: 2 });
      }
    }
    expect(queue.records).toHaveLength(10);
  });

  test('a record says whose it is and when it came; protobuf bytes are kept as they are', async () => {
    const { send, queue } = await startTestReceiver();
    const before = Date.now();
    const body = tracesProtobuf(['a', 'b', 'c']);
    await send({ body });
    const [record] = queue.records;
    expect(record).toMatchObject({ spanCount: 3, sender: CLIENT_URI, route: ROUTE });
    expect(record!.receivedAt).toBeGreaterThanOrEqual(before);
    expect(record!.receivedAt).toBeLessThanOrEqual(Date.now());
    expect(Buffer.from(record!.payload)).toEqual(body);
  });

  test('over plaintext the sender is plaintext', async () => {
    const { send, queue } = await startTestReceiver({ plaintext: true });
    expect((await send({ body: tracesProtobuf(['a']) })).status).toBe(200);
    expect(queue.records[0]!.sender).toBe('plaintext');
  });

  test('larger than what is decompressed in place, and in several gzip members', async () => {
    const { send, queue } = await startTestReceiver();
    const names = Array.from({ length: 10_000 }, (_, i) => `span ${i} ${Math.sin(i)}`);
    const body = tracesProtobuf(names);
    const half = body.length / 2;
    const large = Object.entries(COMPRESS).map(([name, compress]) => [name, compress(body)] as const);
    const members = Buffer.concat([
      zlib.gzipSync(body.subarray(0, half)),
      zlib.gzipSync(body.subarray(half)),
    ]);
    for (const [coding, bytes] of [...large, ['gzip', members] as const]) {
      expect((await send({ headers: { 'content-encoding': coding }, body: bytes })).status).toBe(200);
      expect(Buffer.from(queue.records.at(-1)!.payload)).toEqual(body);
    }
  });

  test('a body without a length, and one that comes in pieces', async () => {
    const { open, queue } = await startTestReceiver();
    const body = tracesProtobuf(['a', 'b']);
    const request = open({ headers: { 'content-type': 'application/x-protobuf' } });
    request.write(body.subarray(0, 10));
    request.write(body.subarray(10));
    request.end();
    expect((await readAnswer(request)).status).toBe(200);
    expect(Buffer.from(queue.records[0]!.payload)).toEqual(body);
  });

  test('a request without spans is answered 200 and stored nowhere', async () => {
    const { send, queue, metrics } = await startTestReceiver();
    expect((await send({ body: Buffer.alloc(0) })).status).toBe(200);
    expect((await send({ body: tracesProtobuf([]) })).status).toBe(200);
    const json = await send({ headers: JSON_TYPE, body: Buffer.from('{}') });
    expect(json.status).toBe(200);
    expect(json.body.toString()).toBe('{}');
    expect(queue.records).toEqual([]);
    expect((await metrics.acceptedSpans.get()).values.map(({ value }) => value)).toEqual([0]);
  });

  test('"100 Continue" is said when the body is wanted, and not when it is refused', async () => {
    const { open } = await startTestReceiver();
    const body = tracesProtobuf(['a']);
    const expecting = { expect: '100-continue', 'content-length': String(body.length) };
    const good = open({ headers: { ...expecting, 'content-type': 'application/x-protobuf' } });
    good.on('continue', () => good.end(body));
    good.flushHeaders();
    expect((await readAnswer(good)).status).toBe(200);

    let continued = false;
    const bad = open({ headers: { ...expecting, 'content-type': 'text/plain' } });
    bad.on('continue', () => (continued = true));
    bad.flushHeaders();
    expect((await readAnswer(bad)).status).toBe(415);
    bad.destroy();
    expect(continued).toBe(false);
  });

  test('"100 Continue" is not said to HTTP/1.0', async () => {
    const { dial } = await startTestReceiver();
    const body = tracesProtobuf(['a']);
    const socket = await dial();
    socket.write(
      `POST /v1/traces HTTP/1.0\r\ncontent-type: application/x-protobuf\r\nexpect: 100-continue\r\ncontent-length: ${body.length}\r\n\r\n`,
    );
    socket.write(body);
    expect((await readRawAnswer(socket)).status).toBe(200);
  });
});

describe('bad spans', () => {
  test('the others are stored and the answer is a partial success', async () => {
    const { send, queue, metrics } = await startTestReceiver();
    const answer = await send({ body: tracesProtobuf(['a', 'b', 'c', 'd', 'e'], { badIds: 2 }) });
    expect(answer.status).toBe(200);
    expect(exportAnswer(answer)).toEqual({
      ok: true,
      rejectedSpans: 2,
      message: expect.stringMatching(/^2 of 5 spans .*span.id/i),
    });
    expect(queue.records[0]!.spanCount).toBe(3);
    expect(scanTraces(queue.records[0]!.payload)).toMatchObject({ spanCount: 3, invalidSpanCount: 0 });
    expect((await metrics.acceptedSpans.get()).values).toMatchObject([{ value: 3 }]);
    expect((await metrics.refusedSpans.get()).values).toMatchObject([
      { value: 2, labels: { reason: 'invalid_span' } },
    ]);
  });

  test('all of them: 400', async () => {
    const { send, queue } = await startTestReceiver();
    const answer = await send({ body: tracesProtobuf(['a', 'b'], { badIds: 2 }) });
    expect(answer.status).toBe(400);
    expect(statusOf(answer)).toEqual({ code: 3, message: expect.stringContaining('none of the 2 spans') });
    expect(queue.records).toEqual([]);
  });
});

describe('bad bodies', () => {
  test('are 400 with a Status that says what is wrong', async () => {
    const { send, queue, lines } = await startTestReceiver();
    const body = tracesProtobuf(['a', 'b']);
    const big = tracesProtobuf(Array.from({ length: 5000 }, (_, i) => `span ${i} ${Math.cos(i)}`));
    const cases: [string, Record<string, string>, Buffer][] = [
      ['protobuf cut off', {}, body.subarray(0, body.length - 1)],
      ['not protobuf', {}, Buffer.from('hello')],
      ['not JSON', JSON_TYPE, Buffer.from('hello')],
      ['JSON cut off', JSON_TYPE, tracesJson(['a']).subarray(0, -1)],
      ['not compressed', { 'content-encoding': 'gzip' }, body],
      ['nothing compressed', { 'content-encoding': 'gzip' }, Buffer.alloc(0)],
      ['bare deflate cut off', { 'content-encoding': 'deflate' }, zlib.deflateRawSync(body).subarray(0, -3)],
      ['no deflate', { 'content-encoding': 'deflate' }, body],
    ];
    for (const [coding, compress] of Object.entries(COMPRESS)) {
      for (const [size, plain] of Object.entries({ small: body, big })) {
        const headers = { 'content-encoding': coding };
        const compressed = compress(plain);
        cases.push(
          [`${coding} ${size} cut off`, headers, compressed.subarray(0, -3)],
          [
            `${coding} ${size} with more behind it`,
            headers,
            Buffer.concat([compressed, Buffer.from('more')]),
          ],
          [`${coding} ${size} with zeros behind it`, headers, Buffer.concat([compressed, Buffer.alloc(4)])],
        );
      }
    }
    for (const [name, headers, bytes] of cases) {
      const answer = await send({ headers, body: bytes });
      expect([name, answer.status]).toEqual([name, 400]);
      expect(answer.headers['content-type']).toBe(headers['content-type'] ?? 'application/x-protobuf');
      expect(statusOf(answer)).toEqual({ code: 3, message: expect.stringMatching(/.{10}/) });
    }
    expect(queue.records).toEqual([]);
    // All of one sender and one kind: one line.
    expect(lines.filter(({ reason }) => reason === 'undecodable')).toHaveLength(1);
  });

  test('a client that goes away in the middle leaves nothing behind', async () => {
    const { open, send, queue } = await startTestReceiver({ maxRequestBodySize: 100_000 });
    for (let i = 0; i < 10; i += 1) {
      const request = open({
        headers: { 'content-type': 'application/x-protobuf', 'content-length': '90000' },
      });
      request.on('error', () => {});
      await new Promise<void>((resolve) => request.write(Buffer.alloc(80_000), () => resolve()));
      const closed = new Promise((resolve) => request.once('close', resolve));
      request.destroy();
      await closed;
    }
    // Were their bytes still counted, this would be 503.
    const body = tracesProtobuf(['a'.repeat(90_000)]);
    await expect.poll(async () => (await send({ body })).status, { timeout: 10_000 }).toBe(200);
    expect(queue.records.at(-1)!.spanCount).toBe(1);
  });
});

describe('limits', () => {
  const maxRequestBodySize = 100_000;

  test('a body of the limit is taken, one byte more is 413, compressed or not, with a length or not', async () => {
    const { send, open, queue } = await startTestReceiver({ maxRequestBodySize });
    const padding = maxRequestBodySize - tracesProtobuf(['']).length;
    const exact = [padding, padding - 2, padding - 4, padding - 6, padding - 8, padding - 9, padding - 10]
      .map((length) => tracesProtobuf(['a'.repeat(length)]))
      .find(({ length }) => length <= maxRequestBodySize)!;
    const over = Buffer.alloc(maxRequestBodySize + 1);
    expect((await send({ body: exact })).status).toBe(200);
    for (const [coding, compress] of Object.entries(COMPRESS)) {
      const headers = { 'content-encoding': coding };
      const taken = await send({ headers, body: compress(exact) });
      expect([coding, taken.status]).toEqual([coding, 200]);
      const answer = await send({ headers, body: compress(over) });
      expect([coding, answer.status]).toEqual([coding, 413]);
      expect(statusOf(answer)).toEqual({
        code: 8,
        message: expect.stringContaining('max_request_body_size'),
      });
    }
    expect(queue.records).toHaveLength(4);

    expect((await send({ body: over })).status).toBe(413);
    const chunked = open({ headers: { ...JSON_TYPE } });
    chunked.write(over);
    const answer = await readAnswer(chunked);
    expect(answer.status).toBe(413);
    expect(answer.headers['connection']).toBe('close');
    expect(statusOf(answer).code).toBe(8);
    chunked.destroy();
  });

  test('a bomb is stopped at the limit', async () => {
    const { send } = await startTestReceiver({ maxRequestBodySize });
    const zeros = Buffer.alloc(80 * 1024 * 1024);
    for (const [coding, compress] of Object.entries(COMPRESS)) {
      const body = compress(zeros);
      expect(body.length).toBeLessThan(maxRequestBodySize);
      const { status } = await send({ headers: { 'content-encoding': coding }, body });
      expect([coding, status]).toEqual([coding, 413]);
    }
  });

  test('a zstd frame that wants a larger window than clients may use is refused', async () => {
    const { send } = await startTestReceiver();
    const headers = { 'content-encoding': 'zstd' };
    expect((await send({ headers, body: frameOfWindow(23) })).status).toBe(200);
    expect((await send({ headers, body: frameOfWindow(24) })).status).toBe(400);
  });

  test('the client gets its 413 though it is still sending, and can send all of it', async () => {
    const { dial } = await startTestReceiver({ maxRequestBodySize: 1_000_000 });
    const socket = await dial();
    const answered = readRawAnswer(socket);
    const length = 3_500_000;
    socket.write(
      `POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`,
    );
    for (let sent = 0; sent < length; sent += 50_000) {
      if (!socket.write(Buffer.alloc(50_000))) await new Promise((resolve) => socket.once('drain', resolve));
    }
    const answer = await answered;
    expect(answer.status).toBe(413);
    expect(statusOf(answer).code).toBe(8);
  });

  test('many large bodies at once: 503 beyond the bound, and all is well after', async () => {
    const { open, send, queue } = await startTestReceiver({ maxRequestBodySize });
    const body = tracesProtobuf(['a'.repeat(90_000)]);
    const headers = { 'content-type': 'application/x-protobuf', 'content-length': String(body.length) };
    const held = queue.hold();
    const firsts = Array.from({ length: 4 }, () => {
      const request = open({ headers });
      request.end(body);
      return readAnswer(request);
    });
    // Four bodies are in hand when the fifth does not fit: 4 × 90,000 of 400,000 bytes.
    await expect.poll(() => queue.waiting, { timeout: 10_000 }).toBe(4);
    const answer = await send({ body });
    expect(answer.status).toBe(503);
    expect(answer.headers['retry-after']).toBe('1');
    expect(statusOf(answer).code).toBe(14);
    expect((await send({ body: tracesProtobuf(['small']).subarray(0, 0) })).status).toBe(200);
    held.release();
    expect((await Promise.all(firsts)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await send({ body })).status).toBe(200);
  });
});

describe('the queue', () => {
  test.each([
    ['full', 'queue_full', 'full'],
    ['sender_held', 'queue_sender_held', 'dead letters'],
    ['sender_searched', 'queue_sender_searched', 'mend what is refused'],
    ['failed', 'queue_failed', 'disk'],
  ] as const)('%s: 503 with Retry-After, and the spans are counted', async (outcome, reason, word) => {
    const { send, queue, metrics } = await startTestReceiver();
    queue.outcome = outcome;
    const answer = await send({ headers: JSON_TYPE, body: tracesJson(['a', 'b']) });
    expect(answer.status).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(statusOf(answer)).toEqual({ code: 14, message: expect.stringContaining(word) });
    expect((await metrics.refusedSpans.get()).values).toMatchObject([{ value: 2, labels: { reason } }]);
    expect((await metrics.acceptedSpans.get()).values).toMatchObject([{ value: 0 }]);
  });

  test('that throws: 503 too, so that the client keeps its spans, and an error in the log', async () => {
    const { send, queue, lines } = await startTestReceiver();
    queue.outcome = new Error('no such device');
    expect((await send({ body: tracesProtobuf(['a']) })).status).toBe(503);
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 50, msg: expect.stringContaining('no such device') }),
    );
  });

  test('nothing is answered before it has stored', async () => {
    const { open, queue, metrics } = await startTestReceiver();
    const held = queue.hold();
    const request = open({ headers: { 'content-type': 'application/x-protobuf' } });
    let answered = false;
    request.once('response', () => (answered = true));
    request.end(tracesProtobuf(['a']));
    const answer = readAnswer(request);
    await held.arrived;
    expect(answered).toBe(false);
    expect((await metrics.requests.get()).values).toEqual([]);
    held.release();
    expect((await answer).status).toBe(200);
    expect((await metrics.requests.get()).values).toMatchObject([{ labels: { code: 200 }, value: 1 }]);
    expect((await metrics.acceptedSpans.get()).values).toMatchObject([{ value: 1 }]);
    const { values } = await metrics.answerSeconds.get();
    expect(values.find(({ metricName }) => metricName?.endsWith('_count'))?.value).toBe(1);
  });
});

test('no line per request above debug', async () => {
  const { send, lines } = await startTestReceiver();
  await send({ body: tracesProtobuf(['a']) });
  expect(lines.filter(({ level }) => level > 20)).toEqual([]);
});

test('requests after each other on one connection, and pipelined ones', async () => {
  const { receiver, queue } = await startTestReceiver({ plaintext: true });
  const socket = connect(receiver.port, '127.0.0.1');
  const body = tracesProtobuf(['a']);
  const head = `POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${body.length}\r\n`;
  socket.write(
    Buffer.concat([Buffer.from(`${head}\r\n`), body, Buffer.from(`${head}connection: close\r\n\r\n`), body]),
  );
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  expect(
    Buffer.concat(chunks)
      .toString('latin1')
      .match(/HTTP\/1.1 200 OK/g),
  ).toHaveLength(2);
  expect(queue.records).toHaveLength(2);
});
