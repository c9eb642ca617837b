import { describe, expect, test } from 'vitest';
import { BadRequest, Status } from '../../src/otlp/schema.ts';
import { ENCODINGS, startRelay, statuses, TYPES } from './otlp-http.ts';
import type { Relay } from './otlp-http.ts';
import type { Answer } from './harness.ts';

/*
 * The sentences about answers; see otlp-http.test.ts. One has no test: "Implementations SHOULD allow this limit to be
 * configured", of the size of an answer. The relay's answers have a few KiB at most, whatever is sent, so that nothing
 * would change with the limit, and none has to be reduced or refused for it. (The Collector once sent again, for ever, what was
 * answered with a success of more than 64 KiB: open-telemetry/opentelemetry-collector#15389.)
 */

/** The statuses after which an OTLP client sends again. */
const RETRYABLE = [429, 502, 503, 504];

/** A request for each status that refuses one. */
async function refusalsOf(relay: Relay): Promise<Answer[]> {
  const body = relay.traces(['a']);
  const { queue } = relay.receiver;
  queue.outcome = 'full';
  const full = await relay.send({ body });
  queue.outcome = 'stored';
  return [
    ...(await relay.post(Buffer.from('{'))),
    await relay.send({ body: relay.traces(['a'], 1) }),
    await relay.send({ path: '/v1/traces%', body }),
    await relay.send({ path: '/v1/metrics', body }),
    await relay.send({ method: 'GET' }),
    await relay.send({ method: 'PUT', body }),
    await relay.send({ body: Buffer.alloc(10_001, ' ') }),
    await relay.send({ headers: { 'content-encoding': 'br' }, body }),
    await relay.send({ headers: { expect: '200-ok' }, body }),
    await relay.raw('POST /v1/traces HTTP/1.1', 'transfer-encoding: gzip, chunked'),
    full,
  ];
}
const REFUSALS = [400, 400, 400, 400, 404, 405, 405, 413, 415, 417, 501, 503];
const SMALL = { maxRequestBodySize: 10_000 };

describe('OTLP/HTTP Response', () => {
  test.each(ENCODINGS)(
    'The response body MUST be the appropriate serialized Protobuf message. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      for (const answer of await relay.post(relay.traces(['a']))) expect(relay.response(answer)).toEqual({});
      for (const answer of await relay.post(relay.traces(['a', 'b'], 1))) {
        expect(relay.response(answer)).toEqual({ partialSuccess: expect.any(Object) });
      }
      for (const answer of await relay.post(relay.traces(['a'], 1))) {
        expect(relay.status(answer)).toMatchObject({ code: 3, message: expect.any(String) });
      }
    },
  );

  test.each(ENCODINGS)(
    'The server MUST set "Content-Type: application/x-protobuf" header if the response body is binary-encoded Protobuf payload. The server MUST set "Content-Type: application/json" if the response is JSON-encoded Protobuf payload. The server MUST use the same "Content-Type" in the response as it received in the request. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding, SMALL);
      const answers = [
        ...(await relay.post(relay.traces(['a']))),
        ...(await relay.post(relay.traces(['a', 'b'], 1))),
        await relay.send({
          headers: { 'content-type': `${TYPES[relay.encoding]}; charset=utf-8` },
          body: relay.traces(['a']),
        }),
        ...(await refusalsOf(relay)),
      ];
      expect(statuses(answers)).toEqual([200, 200, 200, 200, 200, ...REFUSALS]);
      for (const { headers } of answers) expect(headers['content-type']).toBe(TYPES[relay.encoding]);
    },
  );

  test.each(ENCODINGS)(
    'The server MUST limit the size of the response body, including before compression, to avoid overwhelming the client. It is RECOMMENDED to use 4 MiB as the default limit. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const long = 'x'.repeat(15_000);
      const answers = [
        ...(await relay.post(
          relay.traces(
            Array.from({ length: 5_000 }, () => 'bad'),
            5_000,
          ),
        )),
        await relay.send({ path: `/${long}` }),
        await relay.send({ headers: { 'content-type': long } }),
        await relay.send({ headers: { 'content-encoding': long } }),
        await relay.send({ headers: { expect: long } }),
        await relay.send({ body: Buffer.from(`{"resourceSpans":"${long}"}`) }),
        await relay.send({ body: deepFault(long) }),
      ];
      for (const { status, body } of answers) {
        expect(status).toBeGreaterThanOrEqual(400);
        expect(body.length).toBeLessThan(8 * 1024);
      }
    },
  );

  test.each(ENCODINGS)(
    'For a Partial Success response that would otherwise exceed the limit, the server SHOULD reduce the response size without changing response semantics if it is possible and practical. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const names = Array.from({ length: 5_000 }, (_, i) => `span ${i}`);
      for (const answer of await relay.post(relay.traces(names, 4_999))) {
        expect(relay.response(answer)).toMatchObject({ partialSuccess: { rejectedSpans: '4999' } });
        expect(answer.body.length).toBeLessThan(1024);
      }
    },
  );
});

/** A value that does not fit its field, as far down as a value can stand. */
function deepFault(text: string): Buffer {
  const value = `${'{"arrayValue":{"values":['.repeat(45)}{"intValue":"${text}"}${']}}'.repeat(45)}`;
  return Buffer.from(
    `{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"${text}","value":${value}}]}]}]}]}`,
  );
}

describe('Full Success', () => {
  test.each(ENCODINGS)(
    'If the server receives an empty request (a request that does not carry any telemetry data) the server SHOULD respond with success. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const none =
        relay.encoding === 'json'
          ? [Buffer.from('{}'), Buffer.from('{"resourceSpans":[]}')]
          : [Buffer.alloc(0)];
      for (const body of [...none, relay.traces([])]) {
        const answers = await relay.post(body);
        expect(statuses(answers)).toEqual([200, 200]);
        for (const answer of answers) expect(rejectedOf(relay, answer)).toBe(0);
      }
      expect(relay.stored).toEqual([]);
    },
  );

  test.each(ENCODINGS)(
    'On success, the server MUST respond with `HTTP 200 OK`. The response body MUST be a Protobuf-encoded Export<signal>ServiceResponse message. The server MUST leave the `partial_success` field unset in case of a successful response. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      for (const answer of await relay.post(relay.traces(['a', 'b']))) {
        expect(answer.status).toBe(200);
        expect(relay.response(answer)).toEqual({});
        expect(answer.body.toString()).toBe(relay.encoding === 'json' ? '{}' : '');
      }
    },
  );
});

function rejectedOf(relay: Relay, answer: Answer): number {
  const { partialSuccess } = relay.response(answer) as { partialSuccess?: { rejectedSpans?: string } };
  return Number(partialSuccess?.rejectedSpans ?? 0);
}

describe('Partial Success', () => {
  test.each(ENCODINGS)(
    'If the request is only partially accepted, the server MUST respond with `HTTP 200 OK`. The server MUST initialize the `partial_success` field, and it MUST set the respective `rejected_spans` field with the number of spans it rejected. The server SHOULD populate the `error_message` field with a human-readable error message in English. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      for (const answer of await relay.post(relay.traces(['a', 'b', 'c'], 2))) {
        expect(answer.status).toBe(200);
        expect(relay.response(answer)).toEqual({
          partialSuccess: {
            rejectedSpans: '2',
            errorMessage: expect.stringMatching(
              /^2 of 3 spans were left out, with ids .* span id of 4 bytes/,
            ),
          },
        });
      }
      expect(relay.receiver.queue.spanCount).toBe(2);
    },
  );

  test.each(ENCODINGS)(
    'Servers MAY also use the `partial_success` field to convey warnings/suggestions to clients even when it fully accepts the request. In such cases, the `rejected_<signal>` field MUST have a value of `0`, and the `error_message` field MUST be non-empty. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const foreign = Buffer.from(relay.encoding === 'json' ? '{"resourceLogs":[]}' : [0x7a, 0x00]);
      for (const answer of await relay.post(foreign)) {
        expect(answer.status).toBe(200);
        expect(rejectedOf(relay, answer)).toBe(0);
        expect(relay.response(answer)).toMatchObject({
          partialSuccess: { errorMessage: expect.stringMatching(/./) },
        });
      }
    },
  );
});

describe('Failures', () => {
  test.each(ENCODINGS)(
    'If the processing of the request fails, the server MUST respond with appropriate `HTTP 4xx` or `HTTP 5xx` status code. The response body for all `HTTP 4xx` and `HTTP 5xx` responses MUST be a Protobuf-encoded Status message that describes the problem. The `Status.message` field SHOULD contain a developer-facing error message. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding, SMALL);
      const answers = await refusalsOf(relay);
      expect(statuses(answers)).toEqual(REFUSALS);
      for (const answer of answers) {
        expect(relay.status(answer)).toMatchObject({
          code: expect.any(Number),
          message: expect.stringMatching(/\w+ \w+/),
        });
      }
    },
  );

  test.each(ENCODINGS)(
    'The server SHOULD use HTTP response status codes to indicate retryable and non-retryable errors for a particular erroneous situation. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding, SMALL);
      const { queue } = relay.receiver;
      for (const outcome of [
        'full',
        'over_share',
        'sender_held',
        'sender_searched',
        'failed',
        new Error('gone'),
      ] as const) {
        queue.outcome = outcome;
        for (const { status } of await relay.post(relay.traces(['a']))) expect(RETRYABLE).toContain(status);
      }
      const lasting = (await refusalsOf(relay)).filter(({ status }) => status !== 503);
      expect(lasting).toHaveLength(REFUSALS.length - 1);
      for (const { status } of lasting) expect(RETRYABLE).not.toContain(status);
    },
  );
});

describe('Bad Data', () => {
  test.each(ENCODINGS)(
    'If the processing of the request fails because the request contains data that cannot be decoded or is otherwise invalid and such failure is permanent, then the server MUST respond with `HTTP 400 Bad Request`. The `Status.details` field in the response SHOULD contain a BadRequest that describes the bad data. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      const good = relay.traces(['a']);
      const gzip = { 'content-encoding': 'gzip' };
      const answers = [
        ...(await relay.post(good.subarray(0, -1))),
        ...(await relay.post(relay.traces(['a'], 1))),
        await relay.send({ headers: gzip, body: good }),
        await relay.send({ headers: gzip, body: Buffer.alloc(0) }),
      ];
      expect(statuses(answers)).toEqual([400, 400, 400, 400, 400, 400]);
      for (const answer of answers) {
        const { message } = relay.status(answer);
        expect(message).toMatch(/\w+ \w+/);
        expect(detailsOf(relay, answer)).toEqual([
          {
            '@type': 'type.googleapis.com/google.rpc.BadRequest',
            fieldViolations: [{ description: message }],
          },
        ]);
      }
    },
  );
});

/** The details of a Status; in protobuf with the message of each in place of its bytes. */
function detailsOf(relay: Relay, answer: Answer): unknown {
  if (relay.encoding === 'json') return relay.status(answer)['details'];
  const { details } = Status.decode(answer.body) as unknown as {
    details: { type_url: string; value: Uint8Array }[];
  };
  return details.map(({ type_url: type, value }) =>
    Object.assign({ '@type': type }, BadRequest.decode(value).toJSON()),
  );
}

describe('OTLP/HTTP Throttling', () => {
  test.each(ENCODINGS)(
    'If the server receives more requests than the client is allowed or the server is overloaded, the server SHOULD respond with `HTTP 429 Too Many Requests` or `HTTP 503 Service Unavailable` and MAY include "Retry-After" header to indicate how long the client ought to wait before retrying. (%s)',
    async (encoding) => {
      const relay = await startRelay(encoding);
      for (const outcome of ['full', 'over_share'] as const) {
        relay.receiver.queue.outcome = outcome;
        for (const { status, headers } of await relay.post(relay.traces(['a']))) {
          expect(status).toBe(503);
          expect(headers['retry-after']).toMatch(/^[1-9]\d*$/);
        }
      }
      expect(relay.stored).toEqual([]);
    },
  );
});
