import { expect, test } from 'vitest';
import { encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { MAX_DEPTH } from '../../src/otlp/schema.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';

function encoded(request: unknown): Uint8Array {
  const result = encodeTracesJsonNow(Buffer.from(JSON.stringify(request)));
  if (!result.ok) throw new Error(result.message);
  return result.payload;
}

const requestOf = (span: Record<string, unknown>) => ({
  resourceSpans: [{ scopeSpans: [{ spans: [span] }] }],
});

test('ids are hex, other bytes base64, 64-bit integers exact, and what is no number a string', () => {
  const request = requestOf({
    traceId: '5b8efff798038103d269b633813fc60c',
    spanId: 'eee19b7ec3c1b174',
    parentSpanId: 'eee19b7ec3c1b173',
    name: 'span',
    kind: 2,
    startTimeUnixNano: '18446744073709551615',
    attributes: [
      { key: 'min', value: { intValue: '-9223372036854775808' } },
      { key: 'bytes', value: { bytesValue: 'AP8=' } },
      { key: 'nan', value: { doubleValue: 'NaN' } },
      { key: 'negative zero', value: { doubleValue: '-0' } },
      { key: 'list', value: { arrayValue: { values: [{ boolValue: false }, { stringValue: '' }] } } },
    ],
    links: [{ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }],
    status: { code: 2, message: 'no' },
  });
  expect(tracesToJson(encoded(request))).toEqual(request);
});

test('what the receiver takes is shown, however deep', () => {
  const nested = (depth: number): unknown =>
    depth === 0 ? { stringValue: 'deep' } : { arrayValue: { values: [nested(depth - 1)] } };
  const requestWith = (depth: number) => requestOf({ attributes: [{ key: 'a', value: nested(depth) }] });
  const isTaken = (depth: number) => encodeTracesJsonNow(Buffer.from(JSON.stringify(requestWith(depth)))).ok;
  let depth = 0;
  while (isTaken(depth + 1)) depth++;
  expect(depth).toBeGreaterThan(MAX_DEPTH / 2 - 5);
  expect(JSON.stringify(tracesToJson(encoded(requestWith(depth))))).toContain('deep');
});

test('throws on what is no request', () => {
  expect(() => tracesToJson(Buffer.from('no protobuf'))).toThrow(/wire type|index out of range/);
});
