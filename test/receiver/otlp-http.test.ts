import { Agent } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { LEAST, load, receiverWith } from '../config/configurations.ts';
import { GOOD_IDS, hex, join, len, SPAN_ID, TRACE_ID } from '../otlp/bytes.ts';
import { readAnswer, startTestReceiver } from './harness.ts';
import { ENCODINGS, Relay, startRelay, statuses, TYPES } from './otlp-http.ts';

/*
 * Each sentence that tells a server what it MUST or SHOULD do, by its words, in the order of docs/specification.md of
 * opentelemetry-proto (August 2026), about requests and connections; otlp-http-responses.test.ts has those about answers.
 */

describe('Protocol Details', () => {
  test.each(ENCODINGS)(
    'All server components MUST support the following transport compression options: No compression, denoted by `none`. Gzip compression, denoted by `gzip`. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      expect(statuses(await relay.post(relay.traces(['a', 'b'])))).toEqual([200, 200]);
      expect(relay.stored).toHaveLength(2);
      expect(relay.stored[1]).toEqual(relay.stored[0]);
    },
  );
});

/** A request in JSON with one span that has these members. */
const json = (more: object) => ({
  resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: TRACE_ID, spanId: SPAN_ID, ...more }] }] }],
});
/** What becomes of a body that is taken. */
async function storedOf(relay: Relay, body: unknown): Promise<unknown> {
  expect(statuses(await relay.post(Buffer.from(JSON.stringify(body))))).toEqual([200, 200]);
  return relay.stored.at(-1);
}

describe('JSON Protobuf Encoding', () => {
  test.each(['json'] as const)(
    'The `traceId` and `spanId` byte arrays are represented as case-insensitive hex-encoded strings. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const links = [{ traceId: TRACE_ID.toUpperCase(), spanId: 'aBcDeF0123456789' }];
      const body = json({ traceId: TRACE_ID.toUpperCase(), parentSpanId: 'ABCDEF0123456789', links });
      const lower = [{ traceId: TRACE_ID, spanId: 'abcdef0123456789' }];
      expect(await storedOf(relay, body)).toEqual(json({ parentSpanId: 'abcdef0123456789', links: lower }));
    },
  );

  test.each(ENCODINGS)(
    'OTLP/JSON receivers MUST ignore message fields with unknown names and MUST unmarshal the message as if the unknown field was not present in the payload. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const [plain, withUnknown] =
        relay.encoding === 'json' ? unknownNames() : [inProtobuf(hex('')), inProtobuf(len(500, 'new'))];
      await relay.post(plain);
      expect(statuses(await relay.post(withUnknown))).toEqual([200, 200]);
      expect(relay.stored).toHaveLength(4);
      expect(relay.stored.slice(2)).toEqual(relay.stored.slice(0, 2));
    },
  );

  test.each(['json'] as const)(
    '64-bit integer numbers in JSON-encoded payloads are encoded as decimal strings, and either numbers or strings are accepted when decoding. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const attributes = [{ key: 'n', value: { intValue: '-9223372036854775808' } }];
      const times = { startTimeUnixNano: '1544712660000000001', endTimeUnixNano: '18446744073709551615' };
      const asStrings = json({ ...times, attributes });
      const asNumbers = JSON.stringify(asStrings).replaceAll(/"(-?\d{19,20})"/g, '$1');
      expect(asNumbers).not.toContain('"1544712660000000001"');
      expect(await storedOf(relay, asStrings)).toEqual(asStrings);
      await relay.post(Buffer.from(asNumbers));
      expect(relay.stored.at(-1)).toEqual(asStrings);
    },
  );
});

/** A request in JSON, and with a member of no known name in each of its objects. */
function unknownNames(): [Buffer, Buffer] {
  const attributes = [{ key: 'k', value: { arrayValue: { values: [{ intValue: '1' }] } } }];
  const plain = JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes },
        scopeSpans: [
          {
            scope: { name: 's' },
            spans: [
              {
                traceId: TRACE_ID,
                spanId: SPAN_ID,
                name: 'a',
                attributes,
                events: [{ name: 'e' }],
                status: { code: 2 },
              },
            ],
          },
        ],
      },
    ],
  });
  const unknown = '{"new":[{"deep":{"new":null}},1e9,"x",true],"Name":"b",';
  return [Buffer.from(plain), Buffer.from(plain.replaceAll('{', unknown))];
}

/** The same in protobuf, with this field in each message. */
function inProtobuf(field: Uint8Array): Buffer {
  const value = join(field, len(5, field, len(1, len(1, 'v'))));
  const attribute = join(field, len(1, 'k'), len(2, value));
  const span = join(field, GOOD_IDS, len(5, 'a'), len(9, attribute), len(15, field));
  const scopeSpans = join(len(1, len(1, 's'), field), field, len(2, span));
  return Buffer.from(join(field, len(1, len(1, field, len(1, attribute)), len(2, scopeSpans), field)));
}

describe('OTLP/HTTP Request', () => {
  test.each(ENCODINGS)(
    'The default URL path for requests that carry trace data is `/v1/traces`. The request body is a Protobuf-encoded `ExportTraceServiceRequest` message. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const body = relay.traces(['a']);
      expect((await relay.send({ path: '/v1/traces', body })).status).toBe(200);
      for (const path of ['/', '/v1/metrics', '/v1/logs', '/v1development/profiles']) {
        expect((await relay.send({ path, body })).status).toBe(404);
      }
      expect(relay.stored).toHaveLength(1);
    },
  );

  const LIMIT = { maxRequestBodySize: 10_000 };
  test.each(ENCODINGS)(
    'The server MUST limit the size of the request body when parsing it, including after decompression. If the limit is exceeded, the server MUST respond with `HTTP 413 Content Too Large`. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding, LIMIT);
      const exact = relay.traces(['x']).length - 1;
      const within = relay.traces(['x'.repeat(9_000)]);
      const beyond = relay.traces(['x'.repeat(10_001 - exact)]);
      expect(beyond.length).toBeGreaterThan(10_000);
      expect(statuses(await relay.post(within))).toEqual([200, 200]);
      expect(statuses(await relay.post(beyond))).toEqual([413, 413]);
      for (const [body, status] of [
        [within, 200],
        [beyond, 413],
      ] as const) {
        const inChunks = relay.receiver.open({ headers: { 'content-type': TYPES[relay.encoding] } });
        inChunks.write(body.subarray(0, 5_000));
        inChunks.end(body.subarray(5_000));
        expect((await readAnswer(inChunks)).status).toBe(status);
      }
      expect(relay.stored).toHaveLength(3);
    },
  );

  test('It is RECOMMENDED to use 64 MiB as the default limit. Implementations SHOULD allow this limit to be configured.', () => {
    expect(load(LEAST).receiver.max_request_body_size).toBe(64 * 1024 * 1024);
    const limited = receiverWith('max_request_body_size: 2MiB');
    expect(load(limited).receiver.max_request_body_size).toBe(2 * 1024 * 1024);
  });
});

describe('OTLP/HTTP Connection', () => {
  test('Server implementations SHOULD accept OTLP/HTTP with binary-encoded Protobuf payload and OTLP/HTTP with JSON-encoded Protobuf payload requests on the same port and multiplex the requests to the corresponding payload decoder based on the "Content-Type" request header.', async () => {
    const receiver = await startTestReceiver({ plaintext: true });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    for (const encoding of [...ENCODINGS, ...ENCODINGS]) {
      const relay = new Relay(receiver, encoding);
      const answer = await relay.send({ agent, body: relay.traces([encoding]) });
      expect([answer.status, answer.headers['content-type']]).toEqual([200, TYPES[encoding]]);
    }
    expect(receiver.queue.spanCount).toBe(4);
  });

  test('The default network port for OTLP/HTTP is 4318.', () => {
    expect(load(LEAST).receiver.listen.port).toBe(4318);
  });
});
