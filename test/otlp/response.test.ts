import { JsonTraceSerializer, ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CONTENT_TYPE,
  encodeExportResponse,
  encodeStatus,
  readExportResponse,
  STATUS_CODE,
} from '../../src/otlp/response.ts';
import type { Encoding } from '../../src/otlp/response.ts';
import { ExportTraceServiceResponse, Status } from '../../src/otlp/schema.ts';
import { hex, join, len, tag, varint } from './bytes.ts';

function throws(run: () => unknown): boolean {
  try {
    run();
    return false;
  } catch {
    return true;
  }
}

const ENCODINGS: readonly Encoding[] = ['protobuf', 'json'];

describe('what the relay answers', () => {
  test('a full success leaves partial_success unset', () => {
    expect(encodeExportResponse('protobuf')).toHaveLength(0);
    expect(encodeExportResponse('json').toString()).toBe('{}');
  });

  test('a partial success', () => {
    const partial = { rejectedSpans: 3, message: 'span 1: no trace id' };
    expect(ExportTraceServiceResponse.decode(encodeExportResponse('protobuf', partial)).toJSON()).toEqual({
      partialSuccess: { rejectedSpans: '3', errorMessage: partial.message },
    });
    expect(encodeExportResponse('json', partial).toString()).toBe(
      '{"partialSuccess":{"rejectedSpans":"3","errorMessage":"span 1: no trace id"}}',
    );
  });

  test('a status', () => {
    const { INVALID_ARGUMENT } = STATUS_CODE;
    expect(encodeStatus('protobuf', INVALID_ARGUMENT, 'bad')).toEqual(
      Buffer.from(join(hex('0803'), len(2, 'bad'))),
    );
    expect(Status.decode(encodeStatus('protobuf', 13, 'é')).toJSON()).toEqual({ code: 13, message: 'é' });
    expect(encodeStatus('json', 13, 'é').toString()).toBe('{"code":13,"message":"é"}');
  });

  test('a status with what is wrong with the data', () => {
    const type = 'type.googleapis.com/google.rpc.BadRequest';
    expect(encodeStatus('protobuf', 3, 'bad', true)).toEqual(
      Buffer.from(join(hex('0803'), len(2, 'bad'), len(3, len(1, type), len(2, len(1, len(2, 'bad')))))),
    );
    expect(JSON.parse(encodeStatus('json', 3, 'bad', true).toString())).toEqual({
      code: 3,
      message: 'bad',
      details: [{ '@type': type, fieldViolations: [{ description: 'bad' }] }],
    });
  });
});

describe('what an upstream answers', () => {
  test.each(ENCODINGS)('what the relay would answer is read back: %s', (encoding) => {
    const type = CONTENT_TYPE[encoding];
    expect(readExportResponse(type, encodeExportResponse(encoding))).toEqual({ ok: true, rejectedSpans: 0 });
    const partial = { rejectedSpans: 2 ** 40, message: 'é' };
    expect(readExportResponse(type, encodeExportResponse(encoding, partial))).toEqual({
      ok: true,
      ...partial,
    });
    const warning = { rejectedSpans: 0, message: 'slow down' };
    expect(readExportResponse(type, encodeExportResponse(encoding, warning))).toEqual({
      ok: true,
      ...warning,
    });
    const silent = { rejectedSpans: 1, message: '' };
    expect(readExportResponse(type, encodeExportResponse(encoding, silent))).toEqual({
      ok: true,
      rejectedSpans: 1,
    });
  });

  test.each([
    ['application/x-protobuf; charset=utf-8', ''],
    ['Application/X-Protobuf ', ''],
    ['application/json;charset=UTF-8', '{}'],
  ])('content type %s', (contentType, body) => {
    expect(readExportResponse(contentType, Buffer.from(body))).toEqual({ ok: true, rejectedSpans: 0 });
  });

  test.each([
    [
      'text/html; charset=utf-8',
      'its content type is "text/html", not application/x-protobuf or application/json',
    ],
    [
      'application/protobuf',
      'its content type is "application/protobuf", not application/x-protobuf or application/json',
    ],
    [undefined, 'its content type is missing, not application/x-protobuf or application/json'],
    ['', 'its content type is "", not application/x-protobuf or application/json'],
  ])('content type %s is none of OTLP', (contentType, reason) => {
    expect(readExportResponse(contentType, Buffer.alloc(0))).toEqual({ ok: false, reason });
  });

  test.each(['protobuf', 'json'] as const)('%s of more than 64 KiB is not read', (encoding) => {
    const ofMessage = (length: number) =>
      encodeExportResponse(encoding, { rejectedSpans: 1, message: 'x'.repeat(length) });
    const rest = 65_536 - ofMessage(60_000).length;
    expect(readExportResponse(CONTENT_TYPE[encoding], ofMessage(60_000 + rest))).toMatchObject({
      ok: true,
      rejectedSpans: 1,
    });
    expect(readExportResponse(CONTENT_TYPE[encoding], ofMessage(60_001 + rest))).toEqual({
      ok: false,
      reason: 'its body has 65537 bytes, more than the 65536 that are read of an OTLP response',
    });
  });

  // `passes`: what the library makes of it; these are why there are checks around it.
  test.each<[string, Uint8Array, { ok: boolean; rejectedSpans?: number }, boolean]>([
    ['an empty partial success', hex('0a00'), { ok: true, rejectedSpans: 0 }, true],
    ['unknown fields beside it', join(hex('0a020801'), len(9, 'x')), { ok: true, rejectedSpans: 1 }, true],
    ['HTML', Buffer.from('<!doctype html><title>Sign in</title>'), { ok: false }, false],
    ['JSON', Buffer.from('{"error":"unauthorized"}'), { ok: false }, false],
    ['a tag that is cut off', hex('0a'), { ok: false }, false],
    ['a length beyond the end', hex('0a05'), { ok: false }, false],
    ['64 bits cut off', hex('0a00 11ff'), { ok: false }, true],
    ['unknown fields only', len(9, 'x'), { ok: false }, true],
    ['partial_success as a number', hex('0801'), { ok: false }, true],
    ['field number 0', hex('0a00 0200'), { ok: false }, true],
    ['a number without end', join(hex('0a0f08'), hex('ff'.repeat(13)), hex('01')), { ok: false }, true],
    ['a negative count', join(tag(1, 2), varint(11), tag(1, 0), varint(-1)), { ok: false }, true],
    [
      'a count beyond 53 bits',
      join(tag(1, 2), varint(10), tag(1, 0), varint(2n ** 60n)),
      { ok: false },
      true,
    ],
    ['a message that is not UTF-8', len(1, len(2, hex('ff'))), { ok: false }, true],
  ])('protobuf: %s', (_name, body, expected, passes) => {
    const library = () => ProtobufTraceSerializer.deserializeResponse(body);
    expect(throws(library)).toBe(!passes);
    expect(readExportResponse(CONTENT_TYPE.protobuf, body)).toMatchObject(expected);
  });

  test.each<[string, string, { ok: boolean; rejectedSpans?: number; message?: string }]>([
    ['null for partialSuccess', '{"partialSuccess":null}', { ok: true, rejectedSpans: 0 }],
    ['an empty partialSuccess', '{"partialSuccess":{}}', { ok: true, rejectedSpans: 0 }],
    ['a number for the count', '{"partialSuccess":{"rejectedSpans":3}}', { ok: true, rejectedSpans: 3 }],
    [
      'unknown names beside it',
      '{"partialSuccess":{"rejectedSpans":"3","x":1},"y":1}',
      { ok: true, rejectedSpans: 3 },
    ],
    ['nothing', '', { ok: false }],
    ['HTML', '<!doctype html>', { ok: false }],
    ['cut off', '{"partialSuccess":{', { ok: false }],
    ['an array', '[]', { ok: false }],
    ['null', 'null', { ok: false }],
    ['text', '"ok"', { ok: false }],
    ['a login page', '{"error":"login required","login_url":"https://issuer/authorize"}', { ok: false }],
    ['another name', '{"partial_success":{"rejected_spans":3}}', { ok: false }],
    ['partialSuccess of another type', '{"partialSuccess":true}', { ok: false }],
    ['partialSuccess as an array', '{"partialSuccess":[]}', { ok: false }],
    ['a count that is no number', '{"partialSuccess":{"rejectedSpans":"all"}}', { ok: false }],
    ['a negative count', '{"partialSuccess":{"rejectedSpans":-1}}', { ok: false }],
    ['a fraction', '{"partialSuccess":{"rejectedSpans":1.5}}', { ok: false }],
    ['a message that is no text', '{"partialSuccess":{"errorMessage":{}}}', { ok: false }],
  ])('JSON: %s', (_name, body, expected) => {
    // The library takes all of them: what is not JSON is an empty response to it.
    expect(() => JsonTraceSerializer.deserializeResponse(Buffer.from(body))).not.toThrow();
    expect(readExportResponse(CONTENT_TYPE.json, Buffer.from(body))).toMatchObject(expected);
  });

  test('JSON that is not UTF-8', () => {
    const body = Buffer.concat([
      Buffer.from('{"partialSuccess":{"errorMessage":"'),
      hex('ff'),
      Buffer.from('"}}'),
    ]);
    expect(readExportResponse(CONTENT_TYPE.json, body)).toEqual({
      ok: false,
      reason: 'its body is not JSON',
    });
  });

  test('property: garbage never throws, and a success is one that protobufjs decodes too', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 30 }), fc.constantFrom(...ENCODINGS), (body, encoding) => {
        const answer = readExportResponse(CONTENT_TYPE[encoding], body);
        const decodes = !throws(() => ExportTraceServiceResponse.decode(body));
        expect(answer.ok ? encoding === 'json' || decodes : answer.reason.startsWith('its ')).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});
