import zlib from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { readExportResponse } from '../../src/otlp/response.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { GOOD_IDS, hex, join, len, requestOf, SPAN_ID, TRACE_ID } from '../otlp/bytes.ts';
import { CLIENT_URI, startTestReceiver, statusOf } from './harness.ts';
import type { Answer, TestReceiver } from './harness.ts';
import { tracesJson, tracesProtobuf } from './payloads.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const MARK = 'relay.repaired';

type Span = { name: string; kind?: number; attributes?: { key: string; value: { stringValue?: string } }[] };
type Stored = { resourceSpans: { scopeSpans: { scope?: { name?: string }; spans: Span[] }[] }[] };

function stored({ queue }: TestReceiver) {
  return queue.records.map(({ payload }) => tracesToJson(payload) as Stored);
}
const spansIn = (receiver: TestReceiver) =>
  stored(receiver).flatMap(({ resourceSpans }) =>
    resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
  );
const namesIn = (receiver: TestReceiver) => spansIn(receiver).map(({ name }) => name);

function partialOf({ status, headers, body }: Answer) {
  return { status, ...readExportResponse(headers['content-type'], body) };
}

const counts = async (metric: { get: () => Promise<{ values: { value: number; labels: object }[] }> }) =>
  (await metric.get()).values
    .filter(({ value }) => value > 0)
    .map(({ value, labels }) => Object.assign({ value }, labels));

const ids = (last: string) => `"traceId":"${TRACE_ID}","spanId":"${SPAN_ID.slice(0, 15)}${last}"`;
const inJson = (...spans: string[]) =>
  Buffer.from(
    `{"resourceSpans":[{"scopeSpans":[{"spans":[${spans.map((span, i) => `{${ids(String(i))},${span}}`).join()}]}]}]}`,
  );
const named = (name: Uint8Array | string) => join(GOOD_IDS, len(5, name));

const GOOD = '"name":"good"';
const HUGE = '"attributes":[{"key":"n","value":{"intValue":18446744073709551616}}]';

describe('one span with a fault', () => {
  const broken: [string, Record<string, string>, Buffer, string][] = [
    [
      'one byte that is no UTF-8',
      {},
      Buffer.from(requestOf(named(hex('61ff62')), named('good'))),
      'a\ufffdb',
    ],
    ['half a surrogate pair', JSON_TYPE, inJson('"name":"cut \\ud83d"', GOOD), 'cut \ufffd'],
  ];

  test.each(broken)('%s: both are stored, and the one is marked', async (_, headers, body, name) => {
    const receiver = await startTestReceiver();
    const answer = await receiver.send({ headers, body });
    expect(partialOf(answer)).toEqual({ status: 200, ok: true, rejectedSpans: 0 });
    expect(answer.body.toString()).toBe(headers === JSON_TYPE ? '{}' : '');
    expect(namesIn(receiver)).toEqual([name, 'good']);
    expect(spansIn(receiver).map(({ attributes = [] }) => attributes)).toEqual([
      [{ key: MARK, value: { stringValue: 'U+FFFD in place of broken text: Span.name' } }],
      [],
    ]);
    expect(await counts(receiver.metrics.mendedSpans)).toEqual([{ value: 1 }]);
    expect(await counts(receiver.metrics.acceptedSpans)).toEqual([{ value: 2 }]);
    for (let i = 0; i < 3; i++) await receiver.send({ headers, body });
    expect(receiver.lines.filter(({ msg }) => msg === 'spans mended')).toMatchObject([
      {
        level: 40,
        sender: CLIENT_URI,
        mended_spans: 1,
        detail: expect.stringContaining('span 0 (counted from 0): Span.name'),
      },
    ]);
  });

  test.each(broken)('%s, where it is not to be mended: the one is left out', async (_, headers, body) => {
    const receiver = await startTestReceiver({ repair: false });
    expect(partialOf(await receiver.send({ headers, body }))).toEqual({
      status: 200,
      ok: true,
      rejectedSpans: 1,
      message:
        '1 of 2 spans was left out, that cannot be read; the first fault is span 0 (counted from 0): invalid UTF-8 in Span.name',
    });
    expect(namesIn(receiver)).toEqual(['good']);
    expect(await counts(receiver.metrics.mendedSpans)).toEqual([]);
  });

  test('an integer beyond 64 bits: left out, and told to client, log and metric', async () => {
    const receiver = await startTestReceiver();
    const { lines, metrics } = receiver;
    const answer = await receiver.send({ headers: JSON_TYPE, body: inJson(HUGE, GOOD) });
    const fault =
      'resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.intValue: expected a 64-bit integer, as a decimal string or a number; found 18446744073709551616';
    expect(partialOf(answer)).toEqual({
      status: 200,
      ok: true,
      rejectedSpans: 1,
      message: `1 of 2 spans was left out, that cannot be read; the first fault is ${fault}`,
    });
    expect(namesIn(receiver)).toEqual(['good']);
    expect(await counts(metrics.refusedSpans)).toEqual([{ value: 1, reason: 'unreadable_span' }]);
    expect(lines.filter(({ msg }) => msg === 'spans left out')).toMatchObject([
      {
        sender: CLIENT_URI,
        reason: 'unreadable_span',
        left_out_spans: 1,
        taken_spans: 1,
        detail: expect.stringContaining(fault),
      },
    ]);
  });

  test('no other span: 400, as nothing was taken', async () => {
    const receiver = await startTestReceiver();
    const answer = await receiver.send({ headers: JSON_TYPE, body: inJson(HUGE) });
    expect(answer.status).toBe(400);
    expect(statusOf(answer).message).toMatch(
      /^the only span cannot be taken, that cannot be read; .*intValue/,
    );
    expect(receiver.queue.records).toEqual([]);
  });

  test('faults of several kinds are counted and told each', async () => {
    const receiver = await startTestReceiver();
    const badId = len(2, hex(SPAN_ID));
    const answer = await receiver.send({
      body: Buffer.from(requestOf(badId, hex('0f'), named(hex('ff')), named('good'))),
    });
    expect(partialOf(answer)).toEqual({
      status: 200,
      ok: true,
      rejectedSpans: 2,
      message: expect.stringMatching(
        /^2 of 4 spans were left out: 1 with ids .*no trace id; 1 that cannot be read; .*wire type 7/,
      ),
    });
    expect(namesIn(receiver)).toEqual(['\ufffd', 'good']);
    expect(await counts(receiver.metrics.refusedSpans)).toEqual([
      { value: 1, reason: 'invalid_span' },
      { value: 1, reason: 'unreadable_span' },
    ]);
  });

  test('a part without spans is told, though no span is lost', async () => {
    const receiver = await startTestReceiver();
    const body = Buffer.from(inJson(GOOD).toString().replace('[{"scope', '[7,{"scope'));
    expect(partialOf(await receiver.send({ headers: JSON_TYPE, body }))).toMatchObject({
      rejectedSpans: 0,
      message: expect.stringContaining('resourceSpans[0]: expected an object; found 7'),
    });
    expect(namesIn(receiver)).toEqual(['good']);
  });
});

const span = (more: string) =>
  `[{${ids('0').replace('traceId', 'trace_id').replace('spanId', 'span_id')}${more}}]`;
test.each([
  [
    'JSON in snake_case, as opentelemetry-cpp has it',
    `{"resource_spans":[{"scope_spans":[{"scope":{"name":"lib"},"spans":${span(',"name":"a","start_time_unix_nano":"5","parent_span_id":""')}}]}]}`,
  ],
  [
    'the names of before OTLP 0.15',
    `{"resourceSpans":[{"instrumentationLibrarySpans":[{"instrumentationLibrary":{"name":"lib"},"spans":${span(',"name":"a"')}}]}]}`,
  ],
  [
    'these in snake_case',
    `{"resource_spans":[{"instrumentation_library_spans":[{"instrumentation_library":{"name":"lib"},"spans":${span(',"name":"a"')}}]}]}`,
  ],
  [
    'both names with the same spans, as senders of that time may',
    `{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":${span(',"name":"a"')}}],"scopeSpans":[{"scope":{"name":"lib"},"spans":${span(',"name":"a"')}}]}]}`,
  ],
  [
    'both, of which the new one is empty',
    `{"resourceSpans":[{"instrumentationLibrarySpans":[{"scope":{"name":"lib"},"spans":${span(',"name":"a"')}}],"scopeSpans":[]}]}`,
  ],
])('%s', async (_, body) => {
  const receiver = await startTestReceiver();
  expect(partialOf(await receiver.send({ headers: JSON_TYPE, body: Buffer.from(body) }))).toEqual({
    status: 200,
    ok: true,
    rejectedSpans: 0,
  });
  expect(namesIn(receiver)).toEqual(['a']);
  expect(stored(receiver)[0]!.resourceSpans[0]!.scopeSpans[0]!.scope).toEqual({ name: 'lib' });
});

describe('what other senders write', () => {
  test('names of enum values', async () => {
    const receiver = await startTestReceiver();
    const body = inJson(
      '"name":"a","kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_ERROR"}',
      '"name":"b","kind":"SERVER"',
      '"name":"c","kind":"toString"',
    );
    expect(partialOf(await receiver.send({ headers: JSON_TYPE, body }))).toMatchObject({ rejectedSpans: 2 });
    expect(spansIn(receiver)).toMatchObject([{ name: 'a', kind: 2, status: { code: 2 } }]);
  });

  test('deflate data without the frame of zlib, small and large', async () => {
    const receiver = await startTestReceiver();
    const large = Array.from({ length: 10_000 }, (_, i) => `span ${i} ${Math.sin(i)}`);
    for (const body of [tracesProtobuf(['a']), tracesJson(['a']), tracesProtobuf(large)]) {
      const type = body[0] === 0x7b ? JSON_TYPE : {};
      for (const deflate of [
        zlib.deflateRawSync(body),
        zlib.deflateSync(body),
        zlib.deflateRawSync(body, { level: 0 }),
      ]) {
        const answer = await receiver.send({
          headers: { ...type, 'content-encoding': 'deflate' },
          body: deflate,
        });
        expect(answer.status).toBe(200);
      }
    }
    expect(receiver.queue.records.map(({ spanCount }) => spanCount)).toEqual([
      1, 1, 1, 1, 1, 1, 10_000, 10_000, 10_000,
    ]);
  });

  test.each(['/v1/traces/', '//v1/traces', '/v1/traces//?x=1'])(
    'a path with slashes of its own: %s',
    async (path) => {
      const receiver = await startTestReceiver({ plaintext: true });
      expect((await receiver.send({ path, body: tracesProtobuf(['a']) })).status).toBe(200);
      expect(namesIn(receiver)).toEqual(['a']);
      const { status, headers } = await receiver.send({ path, method: 'GET' });
      expect([status, headers['allow']]).toEqual([405, 'POST']);
    },
  );
});

describe('a body in which no span is found', () => {
  test.each<[string, Record<string, string>, Buffer]>([
    ['JSON of something else', JSON_TYPE, Buffer.from('{"foo":1}')],
    ['an empty list', JSON_TYPE, Buffer.from(' [] ')],
    ['null', JSON_TYPE, Buffer.from('null')],
    ['metrics', JSON_TYPE, Buffer.from('{"resourceMetrics":[{"scopeMetrics":[]}]}')],
    ['a resource alone', JSON_TYPE, Buffer.from('{"resourceSpans":[{"resource":{}}]}')],
    ['what is no resource', JSON_TYPE, Buffer.from('{"resourceSpans":[7]}')],
    ['protobuf of something else', {}, Buffer.from(len(5, 'x'))],
    ['a resource alone in protobuf', {}, Buffer.from(len(1))],
  ])('is answered 200 with a warning, and told once: %s', async (_, headers, body) => {
    const { send, queue, lines, metrics } = await startTestReceiver();
    for (let i = 0; i < 3; i++) {
      const answer = partialOf(await send({ headers, body }));
      expect(answer).toEqual({
        status: 200,
        ok: true,
        rejectedSpans: 0,
        message: expect.stringMatching(/^no span was found/),
      });
    }
    expect(queue.records).toEqual([]);
    expect(lines.filter(({ msg }) => msg === 'request without spans')).toMatchObject([
      { level: 40, sender: CLIENT_URI },
    ]);
    expect(await counts(metrics.requestsWithoutSpans)).toEqual([{ value: 3 }]);
  });

  test.each<[string, Record<string, string>, string]>([
    ['no bytes', {}, ''],
    ['an empty object', JSON_TYPE, '{}'],
    ['an empty list of resources', JSON_TYPE, '{"resourceSpans":[]}'],
    ['the same in snake_case', JSON_TYPE, '{"resource_spans":[]}'],
    ['null in place of the list', JSON_TYPE, '{"resourceSpans":null}'],
  ])('is a plain success where its sender meant that: %s', async (_, headers, body) => {
    const { send, lines, metrics } = await startTestReceiver();
    const answer = await send({ headers, body: Buffer.from(body) });
    expect(partialOf(answer)).toEqual({ status: 200, ok: true, rejectedSpans: 0 });
    expect(answer.body.toString()).toBe(headers === JSON_TYPE ? '{}' : '');
    expect(lines.filter(({ level }) => level > 20)).toEqual([]);
    expect(await counts(metrics.requestsWithoutSpans)).toEqual([]);
  });
});
