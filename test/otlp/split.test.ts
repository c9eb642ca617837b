import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutSpans, indexSpans, scanTraces, splitSpans } from '../../src/otlp/wire.ts';
import type { PayloadPart } from '../../src/otlp/wire.ts';
import { decode } from '../delivery/support.ts';
import { GOOD_IDS, group, join, len, requestOf } from './bytes.ts';
import { bytesOf, requestTree, spansOf } from './request-tree.ts';

const NO_LIMITS = { maxSpans: Infinity, maxBytes: Infinity };

/** The parts, and how often others had their turn. */
function split(payload: Uint8Array, limits: Partial<typeof NO_LIMITS> = {}) {
  const parts: PayloadPart[] = [];
  let pauses = 0;
  for (const part of splitSpans(payload, { ...NO_LIMITS, ...limits })) {
    if (part === undefined) pauses++;
    else parts.push(part);
  }
  return { parts, pauses };
}

describe('splitSpans', () => {
  const spans = ['a', 'b', 'c', 'd', 'e'].map((name) => len(2, GOOD_IDS, len(5, name)));
  const resource = len(1, len(1, len(1, 'key')));

  test('every part repeats the resource and the scope, whatever stands behind the spans', () => {
    const scope = join(len(1, len(1, 'scope')), ...spans, len(3, 'url'));
    const payload = len(1, resource, len(2, scope), group(40, len(2, 'no scope')));
    const { parts } = split(payload, { maxSpans: 2 });
    const around = join(resource, group(40, len(2, 'no scope')));
    const expected = [spans.slice(0, 2), spans.slice(2, 4), spans.slice(4)].map((mine) =>
      len(1, around, len(2, len(1, len(1, 'scope')), len(3, 'url'), ...mine)),
    );
    expect(parts.map((part) => Buffer.from(part.payload))).toEqual(expected.map((part) => Buffer.from(part)));
  });

  test('a part is closed before the span or the resource that would go over its bytes', () => {
    const large = len(1, 'x'.repeat(100));
    const payload = join(len(1, len(2, ...spans)), len(1, large, len(2, ...spans)));
    const [one] = spans;
    const { parts } = split(payload, { maxBytes: 5 * one!.length + 50 });
    // What a part begins with does not count: else one span alone would go with a large resource.
    expect(parts.map((part) => part.spans.length)).toEqual([5, 5]);
    expect(split(payload, { maxBytes: 1 }).parts.map((part) => part.spans.length)).toEqual(
      Array.from({ length: 10 }, () => 1),
    );
  });

  test('one part is the payload itself, and where there is no span there is no part', () => {
    const payload = requestOf(GOOD_IDS);
    expect(split(payload).parts[0]?.payload).toBe(payload);
    expect(split(len(1, resource, len(2)))).toEqual({ parts: [], pauses: 0 });
  });

  test.each([
    ['empty scopes', () => len(1, Buffer.alloc(400_000, Uint8Array.of(0x12, 0)), len(2, ...spans))],
    ['empty resources', () => join(Buffer.alloc(400_000, Uint8Array.of(0x0a, 0)), requestOf(GOOD_IDS))],
    ['fields of a span', () => requestOf(join(GOOD_IDS, Buffer.alloc(400_000, Uint8Array.of(0x48, 1))))],
    [
      'fields of a group in a span',
      () => requestOf(join(group(70, Buffer.alloc(400_000, Uint8Array.of(0x48, 1))), GOOD_IDS)),
    ],
    ['fields of a resource', () => len(1, Buffer.alloc(400_000, Uint8Array.of(0x48, 1)), len(2, ...spans))],
    ['spans of no content', () => len(1, len(2, Buffer.alloc(400_000, Uint8Array.of(0x12, 0))))],
  ])('others have their turn, however the bytes are made up: %s', (_name, payload) => {
    const { pauses, parts } = split(payload(), { maxSpans: 1000 });
    expect(pauses).toBeGreaterThanOrEqual(3);
    expect(parts.length).toBeGreaterThan(0);
  });

  test('bytes that were not scanned are a bug', () => {
    expect(() => split(Buffer.from('0a0500', 'hex'))).toThrow('not scanned');
  });

  test('property: the parts have the spans of the payload, in order, each with all that was around it', () => {
    const limits = fc.record({
      maxSpans: fc.constantFrom(1, 2, 3, Infinity),
      maxBytes: fc.constantFrom(1, 100, 500, Infinity),
    });
    fc.assert(
      fc.property(requestTree, limits, (tree, { maxSpans, maxBytes }) => {
        const payload = bytesOf(tree);
        const { parts } = split(payload, { maxSpans, maxBytes });
        expect(parts.flatMap((part) => part.spans)).toEqual(indexSpans(payload));
        expect(parts.flatMap((part) => decode(part.payload))).toEqual(decode(payload));
        for (const part of parts) {
          expect(scanTraces(part.payload)).toMatchObject({ ok: true, spanCount: part.spans.length });
          expect(part.spans).toEqual(indexSpans(part.payload));
          expect(part.spans.length).toBeLessThanOrEqual(maxSpans);
        }
        // The same bytes as a cut of the same spans, in another order of fields.
        let at = 0;
        for (const part of parts) {
          const from = at;
          at += part.spans.length;
          const cut = cutSpans(payload, (index) => index >= from && index < from + part.spans.length);
          expect([cut.length, payload.length]).toContain(part.payload.length);
        }
        expect(at).toBe(spansOf(tree).length);
      }),
      { numRuns: 300 },
    );
  });
});
