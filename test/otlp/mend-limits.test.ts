import { describe, expect, test } from 'vitest';
import { siftTraces } from '../../src/otlp/sift.ts';
import { GOOD_IDS, hex, join, len, requestOf } from './bytes.ts';
import { siftCopy } from './sift-copy.ts';

const span = (...fields: Uint8Array[]) => join(GOOD_IDS, ...fields);
const BROKEN = hex('61 ff 62');

describe('limits', () => {
  test('what would grow beyond the limit is left out, the rest is taken', () => {
    const good = span(len(5, 'good'));
    const large = span(len(5, new Uint8Array(100_000).fill(0xff)));
    const small = span(len(5, BROKEN));
    const body = requestOf(good, large, small);
    expect(siftCopy(body)).toMatchObject({ spanCount: 2, unreadableSpanCount: 1, mendedSpanCount: 1 });
    expect(siftCopy(body).unreadable).toMatch(/span 1 .*would have more than \d+ bytes/);
    const full = requestOf(good, small);
    expect(siftCopy(full, { maxSize: full.length })).toMatchObject({ spanCount: 1, unreadableSpanCount: 1 });
    const inResource = join(
      len(1, len(3, new Uint8Array(100_000).fill(0xff)), len(2, len(2, good))),
      requestOf(good),
    );
    expect(siftCopy(inResource)).toMatchObject({ spanCount: 1, unreadableSpanCount: 1 });
    expect(siftCopy(inResource).unreadable).toMatch(/under ResourceSpans 0 .*would have more than/);
  });

  test('what has to be mended and is large is left to others, as it came', () => {
    const body = requestOf(span(len(5, BROKEN)));
    const given = new Uint8Array(body);
    const mending = { repair: true, maxSize: Infinity };
    expect(siftTraces(given, Infinity, mending, { mostMended: body.length - 1 })).toEqual({
      ok: false,
      tooMuch: true,
    });
    expect(Buffer.from(given).equals(body)).toBe(true);
    expect(siftTraces(given, Infinity, mending, { mostMended: body.length })).toMatchObject({
      mendedSpanCount: 1,
    });
  });

  test('more messages than are allowed are no fault of a span', () => {
    const events = Array.from({ length: 50 }, () => len(11));
    const body = requestOf(span(...events));
    const mending = { repair: true, maxSize: Infinity };
    expect(siftTraces(body, Infinity, mending, { mostMessages: 40 })).toEqual({ ok: false, tooMuch: true });
    expect(siftTraces(body, Infinity, mending, { mostMessages: 60 })).toMatchObject({ spanCount: 1 });
  });
});
