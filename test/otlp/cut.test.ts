import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutSpans, indexSpans, scanTraces } from '../../src/otlp/wire.ts';
import { GOOD_IDS, group, hex, join, len, requestOf, SPAN_ID, tag, TRACE_ID, varint } from './bytes.ts';
import { bytesOf, filterTree, requestTree, spansOf } from './request-tree.ts';

const OTHER_ID = 'f1f2f3f4f5f6f7f8';

describe('indexSpans', () => {
  test('wire order, ids in lower-case hex, roots, sizes with tag and length', () => {
    const other = 'ABCDEF'.padEnd(32, '0');
    const id = { idHigh: 0x11121314, idLow: 0x15161718 };
    const end = join(tag(8, 1), hex('0000000000000001'));
    const root = join(len(1, hex(other)), len(2, hex(SPAN_ID)), len(4, new Uint8Array(8)), end);
    const child = join(GOOD_IDS, len(4, hex(SPAN_ID)), len(5, 'n'.repeat(200)));
    expect(indexSpans(join(requestOf(GOOD_IDS, child), requestOf(root)))).toEqual([
      { traceId: TRACE_ID, ...id, isRoot: true, hasEnd: false, bytes: 30 },
      { traceId: TRACE_ID, ...id, isRoot: false, hasEnd: false, bytes: 3 + child.length },
      { traceId: other.toLowerCase(), ...id, isRoot: true, hasEnd: true, bytes: 2 + root.length },
    ]);
  });

  test('of repeated ids the last counts', () => {
    const span = join(len(1, 'x'), len(2, hex(OTHER_ID)), len(4, hex(SPAN_ID)), GOOD_IDS, len(4));
    expect(indexSpans(requestOf(span))).toMatchObject([
      { traceId: TRACE_ID, idHigh: 0x11121314, idLow: 0x15161718, isRoot: true },
    ]);
  });

  test('bytes that were not scanned are a bug', () => {
    expect(() => indexSpans(hex('0a05 00'))).toThrow(
      'a payload that was not scanned: a field longer than what is around it, at byte 1',
    );
    expect(() => cutSpans(hex('0a05 00'), () => true)).toThrow('not scanned');
  });

  test('property: agrees with the tree that the request was made from', () => {
    fc.assert(
      fc.property(requestTree, (tree) => {
        expect(indexSpans(bytesOf(tree))).toEqual(
          spansOf(tree).map(({ span, ...facts }) => Object.assign(facts, { bytes: len(2, span).length })),
        );
      }),
    );
  });
});

const unknown = (number: number) => join(group(number, len(1, 'g')), tag(number + 1, 0), varint(7));
const span = (name: string) => len(2, GOOD_IDS, len(5, name));
const build = (...spans: Uint8Array[]) =>
  join(
    unknown(30),
    len(
      1,
      unknown(40),
      len(2, unknown(50), len(3, 'scope url'), ...spans, len(1, len(1, 'scope'))),
      len(3, 'url'),
      len(1, len(1)),
    ),
    unknown(60),
  );
/** A field whose length could be written shorter. */
const padded = (fieldNumber: number, content: Uint8Array) =>
  join(tag(fieldNumber, 2), Uint8Array.of(0x80 | content.length, 0x80, 0), content);

describe('cutSpans', () => {
  test('what is around a kept span stays as it is and where it is, unknown fields too', () => {
    expect(cutSpans(build(span('a'), span('b'), span('c')), (index) => index === 1)).toEqual(
      Buffer.from(build(span('b'))),
    );
  });

  test('a long length becomes a short one', () => {
    const long = join(GOOD_IDS, len(5, 'n'.repeat(20_000)));
    const cut = cutSpans(requestOf(GOOD_IDS, long), (index) => index === 0);
    expect(cut).toEqual(Buffer.from(requestOf(GOOD_IDS)));
  });

  test('everything kept: the same bytes, not copied', () => {
    const payload = requestOf(GOOD_IDS, GOOD_IDS);
    expect(cutSpans(payload, () => true)).toBe(payload);
  });

  test('lengths that could be shorter stay where nothing is left out', () => {
    const payload = padded(1, padded(2, padded(2, GOOD_IDS)));
    expect(scanTraces(payload)).toMatchObject({ ok: true, spanCount: 1 });
    expect(cutSpans(payload, () => true)).toBe(payload);
    const first = cutSpans(join(payload, requestOf(GOOD_IDS)), (index) => index === 0);
    expect(first).toEqual(Buffer.from(payload));
  });

  test('nothing kept: only what is outside of all resources', () => {
    const outside = len(20, 'x');
    expect(cutSpans(join(requestOf(GOOD_IDS), outside), () => false)).toEqual(Buffer.from(outside));
  });

  test('property: any split into parts gives, part by part, the request filtered', () => {
    fc.assert(
      fc.property(requestTree, fc.array(fc.nat(2), { minLength: 40, maxLength: 40 }), (tree, partOf) => {
        const payload = bytesOf(tree);
        const spans = spansOf(tree);
        for (const part of [0, 1, 2]) {
          const asked: number[] = [];
          const cut = cutSpans(payload, (index) => {
            asked.push(index);
            return partOf[index] === part;
          });
          const kept = spans.filter((_, index) => partOf[index] === part);
          expect(Buffer.from(cut)).toEqual(Buffer.from(bytesOf(filterTree(tree, new Set(kept)))));
          expect(indexSpans(cut)).toEqual(indexSpans(payload).filter((_, index) => partOf[index] === part));
          expect(scanTraces(cut)).toEqual({ ok: true, spanCount: kept.length, invalidSpanCount: 0 });
          expect(asked).toEqual(spans.map((_, index) => index));
        }
      }),
    );
  });
});
