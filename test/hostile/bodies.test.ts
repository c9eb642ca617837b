import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { indexSpans, scanTraces } from '../../src/otlp/wire.ts';
import {
  BAD_MARK,
  GOOD_MARK,
  LARGEST_BODY,
  MIB,
  emptySpans,
  goodJson,
  gzipped,
  largeResource,
  markedTraces,
  requestOfBytes,
  smallestSpans,
  uselessJson,
} from './bodies.ts';

const tracesOf = (body: Uint8Array) => new Set(indexSpans(body).map(({ traceId }) => traceId));
const marked = (mark: number, index: number) =>
  mark.toString(16).padStart(8, '0') + '0'.repeat(16) + index.toString(16).padStart(8, '0');

// An attack with a body that is refused as no request would attack nothing.
test('the smallest spans are valid, in a trace each or in one', () => {
  const many = requestOfBytes(smallestSpans(1_000, 'own traces'));
  expect(scanTraces(many)).toMatchObject({ ok: true, spanCount: 1_000 });
  expect(scanTraces(many)).not.toHaveProperty('problem');
  expect(tracesOf(many).size).toBe(1_000);
  const one = requestOfBytes(smallestSpans(1_000, 'one trace'));
  expect(scanTraces(one)).not.toHaveProperty('problem');
  expect(tracesOf(one).size).toBe(1);
});

test('bodies that are as large as they can be are not larger', async () => {
  expect(requestOfBytes(smallestSpans(2_200_000, 'own traces')).length).toBeLessThanOrEqual(LARGEST_BODY);
  const empty = emptySpans(33_500_000);
  expect(empty.length).toBeLessThanOrEqual(LARGEST_BODY);
  const compressed = await gzipped(empty);
  expect(compressed.length).toBeLessThan(MIB);
  expect(gunzipSync(compressed).equals(empty)).toBe(true);
});

test('of the empty spans one is valid', () => {
  const body = emptySpans(10);
  expect(scanTraces(body)).toMatchObject({
    ok: true,
    spanCount: 11,
    problem: expect.stringContaining('span 0'),
  });
  expect(indexSpans(body).at(-1)).toMatchObject({ traceId: expect.stringMatching(/^.{32}$/) });
});

test('a resource is as large as it should be', () => {
  const body = largeResource(MIB, 10);
  expect(scanTraces(body)).toMatchObject({ ok: true, spanCount: 10 });
  const ofResource = body.length - requestOfBytes(smallestSpans(10, 'own traces')).length;
  expect(ofResource).toBeLessThanOrEqual(MIB);
  expect(ofResource).toBeGreaterThan(MIB - 200);
});

test('marked traces are whole, and known by their number', () => {
  const bad = markedTraces(BAD_MARK, 7, 3);
  expect(scanTraces(bad)).toEqual(scanTraces(requestOfBytes(smallestSpans(3, 'one trace'))));
  expect([...tracesOf(bad)]).toEqual([7, 8, 9].map((index) => marked(BAD_MARK, index)));
  // The sink looks for the id behind a tag and a length.
  const at = bad.indexOf(Buffer.from(marked(BAD_MARK, 7), 'hex'));
  expect([...bad.subarray(at - 2, at)]).toEqual([0x0a, 16]);
});

test('JSON of a good trace becomes one, and the useless one is converted to its end', () => {
  const good = goodJson(5, 100_000);
  expect(good.length).toBeGreaterThan(90_000);
  const encoded = encodeTracesJsonNow(good);
  const payload = encoded.ok ? encoded.payload : new Uint8Array();
  expect([...tracesOf(payload)]).toEqual([marked(GOOD_MARK, 5)]);
  const useless = encodeTracesJsonNow(uselessJson(100_000));
  expect(useless.ok && scanTraces(useless.payload)).toMatchObject({ ok: true, problem: expect.anything() });
});
