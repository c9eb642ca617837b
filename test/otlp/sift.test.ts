import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { siftTraces } from '../../src/otlp/sift.ts';
import { cutSpans, indexSpans, scanTraces } from '../../src/otlp/wire.ts';
import { GOOD_IDS, hex, join, len, requestOf, SPAN_ID } from './bytes.ts';
import { bytesOf, requestTree, spansOf } from './request-tree.ts';
import type { Tree } from './request-tree.ts';

const MIB = 1024 * 1024;

/** Of a copy, as what is given is used up. */
function sift(payload: Uint8Array, maxOwnBytes = MIB) {
  const result = siftTraces(new Uint8Array(payload), maxOwnBytes);
  if (!result.ok) throw new Error('message' in result ? result.message : 'too large');
  return { ...result, payload: Buffer.from(result.payload) };
}

/** Good and bad spans, and resources and scopes around them of which some are empty. */
const badTree: fc.Arbitrary<Tree> = fc
  .tuple(requestTree, fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }))
  .map(([tree, isBad]) => {
    let next = 0;
    const spoil = (nodes: Tree): Tree =>
      nodes.map((node) => {
        if ('fields' in node) return { ...node, fields: spoil(node.fields) };
        if (!('span' in node) || isBad[next++] !== true) return node;
        // Of repeated ids the last counts.
        return { ...node, span: join(node.span, len(2, 'x')) };
      });
    return spoil(tree);
  });

describe('bad spans', () => {
  test('property: what is left is what cutSpans leaves, byte for byte', () => {
    let cuts = 0;
    fc.assert(
      fc.property(badTree, (tree) => {
        const payload = bytesOf(tree);
        const bad = spansOf(tree).map(({ span }) => Buffer.from(span.subarray(-3)).equals(len(2, 'x')));
        const count = bad.filter(Boolean).length;
        const expected = count === 0 ? payload : cutSpans(payload, (index) => !bad[index]);
        if (count > 0 && count < bad.length) cuts++;
        const result = sift(payload);
        expect(result.payload).toEqual(Buffer.from(expected));
        expect(result).toMatchObject({ spanCount: bad.length - count, invalidSpanCount: count });
        expect(scanTraces(result.payload)).toEqual({
          ok: true,
          spanCount: bad.length - count,
          invalidSpanCount: 0,
        });
      }),
      { numRuns: 500 },
    );
    expect(cuts).toBeGreaterThan(50);
  });

  test('millions of them, and of messages without a span, need no memory of their own', () => {
    const spans = Buffer.alloc(8_000_000).map((_, at) => (at % 2 === 0 ? 0x12 : 0));
    const payload = new Uint8Array(Buffer.from(len(1, len(2, spans, len(2, GOOD_IDS)))));
    const before = process.memoryUsage();
    const result = siftTraces(payload, MIB);
    const after = process.memoryUsage();
    expect(result).toMatchObject({ ok: true, spanCount: 1, invalidSpanCount: 4_000_000 });
    expect(result.ok && Buffer.from(result.payload)).toEqual(Buffer.from(requestOf(GOOD_IDS)));
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(4 * MIB);
  });

  test('what is not decodable is said as scanTraces says it', () => {
    const payload = hex('0a05 00');
    expect(siftTraces(payload, MIB)).toEqual(scanTraces(payload));
  });
});

const LARGE = 'x'.repeat(5000);
const span = len(2, GOOD_IDS);
const scope = len(2, span);
const resource = (...fields: Uint8Array[]) => len(1, ...fields);

describe('what is around spans', () => {
  const attribute = len(1, len(1, len(1, 'k'), len(2, len(1, LARGE))));
  test.each<[string, Uint8Array, string]>([
    ['the attributes of a resource', resource(attribute, scope, scope), 'ResourceSpans 1 (counted from 0)'],
    ['its schema URL', resource(scope, scope, len(3, LARGE)), 'ResourceSpans 1 (counted from 0)'],
    ['its unknown fields', resource(scope, len(1000, LARGE), scope), 'ResourceSpans 1 (counted from 0)'],
    [
      'many small unknown fields',
      resource(scope, ...Array.from({ length: 1500 }, () => len(30, 'x')), scope),
      'ResourceSpans 1 (counted from 0)',
    ],
    [
      'a scope',
      resource(len(2, len(1, len(3, len(1, LARGE))), span, span), scope),
      'ScopeSpans 0 of ResourceSpans 1 (counted from 0)',
    ],
  ])('%s over the limit costs the spans under it, and no others', (_, large, place) => {
    const isScope = place.startsWith('Scope');
    const payload = join(requestOf(GOOD_IDS), large, requestOf(GOOD_IDS, GOOD_IDS));
    const result = sift(payload, 4096);
    expect(result).toMatchObject({
      spanCount: isScope ? 4 : 3,
      invalidSpanCount: 0,
      oversizeSpanCount: 2,
      oversize: { place },
    });
    expect(result.oversize!.bytes).toBeGreaterThan(4096);
    const expected = join(requestOf(GOOD_IDS), isScope ? resource(scope) : '', requestOf(GOOD_IDS, GOOD_IDS));
    expect(result.payload).toEqual(Buffer.from(expected));
    expect(sift(payload, 8000)).toMatchObject({ spanCount: isScope ? 6 : 5, oversizeSpanCount: 0 });
  });

  test('exactly the limit is taken; spans, however large, are not counted', () => {
    const own = len(3, 'x'.repeat(100));
    const payload = resource(own, len(2, len(2, GOOD_IDS, len(5, LARGE)), own), own);
    expect(sift(payload, 2 * own.length)).toMatchObject({ spanCount: 1, oversizeSpanCount: 0 });
    expect(sift(payload, 2 * own.length - 1)).toMatchObject({
      spanCount: 0,
      oversizeSpanCount: 1,
      oversize: { bytes: 2 * own.length },
    });
  });

  test('what stands beside all resources goes with every span, so too much of it costs all', () => {
    const payload = join(requestOf(GOOD_IDS), len(20, LARGE));
    expect(sift(payload, 4096)).toMatchObject({
      spanCount: 0,
      oversizeSpanCount: 1,
      oversize: { place: 'the request, outside of its ResourceSpans,', bytes: len(20, LARGE).length },
    });
    expect(sift(payload, 4096).payload).toHaveLength(0);
  });

  test('bad spans under a large resource are bad spans', () => {
    const bad = len(2, len(2, hex(SPAN_ID)));
    expect(sift(resource(attribute, len(2, span, bad)), 4096)).toMatchObject({
      spanCount: 0,
      invalidSpanCount: 1,
      oversizeSpanCount: 1,
    });
  });

  test('many messages without a span are left out, a few stay', () => {
    const empty = join(resource(), resource(len(2), len(2)), resource(len(3, 'url')));
    const few = join(empty, requestOf(GOOD_IDS), empty);
    expect(sift(few, 4096).payload).toEqual(Buffer.from(few));
    const many = Buffer.concat([Buffer.alloc(5000).map((_, at) => (at % 2 === 0 ? 0x0a : 0)), few]);
    const result = sift(many, 4096);
    expect(result).toMatchObject({ spanCount: 1, invalidSpanCount: 0, oversizeSpanCount: 0 });
    expect(result.payload).toEqual(Buffer.from(requestOf(GOOD_IDS)));
    expect(indexSpans(result.payload)).toEqual(indexSpans(few));
    // A resource that is large and has no span costs none.
    const bare = sift(join(resource(len(3, LARGE)), requestOf(GOOD_IDS)), 4096);
    expect(bare).toMatchObject({ spanCount: 1, oversizeSpanCount: 0 });
    expect(bare.payload).toEqual(Buffer.from(requestOf(GOOD_IDS)));
  });
});
