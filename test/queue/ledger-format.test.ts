import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeLedger, encodeLedger, HEAD_SIZE } from '../../src/queue/ledger-format.ts';
import type { LedgerContent } from '../../src/queue/ledger-format.ts';
import { SpanSet } from '../../src/queue/span-set.ts';

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

describe('spans of a record', () => {
  test.each([
    { of: 5, spans: [2, 3, 4], runs: [2, 3] },
    { of: 5, spans: [0], runs: [0, 1] },
    { of: 5, spans: [1, 3], runs: [1, 1, 1, 1] },
    { of: 5, spans: [4], runs: [4, 1] },
    { of: 5, spans: [0, 1, 2, 3, 4], runs: [0, 5] },
    { of: 5, spans: [], runs: [] },
    { of: 40, spans: [3, ...range(8, 24), 31, 39], runs: [3, 1, 4, 16, 7, 1, 7, 1] },
    { of: 16, spans: range(0, 16), runs: [0, 16] },
    { of: 17, spans: range(0, 16), runs: [0, 16] },
    { of: 33, spans: [32], runs: [32, 1] },
    { of: 0, spans: [], runs: [] },
  ])('$spans of $of are the runs $runs', ({ of, spans, runs }) => {
    expect(new SpanSet(of, spans).runs()).toEqual(runs);
    expect([...SpanSet.ofRuns(of, runs)]).toEqual(spans);
  });

  test('runs that name more than the record has are cut', () => {
    const set = SpanSet.ofRuns(3, [1, 2 ** 40]);
    expect([...set]).toEqual([1, 2]);
    expect(set.isWhole).toBe(false);
  });

  test('a set is what was added to it, whatever it is', () => {
    const some = fc.nat(300).chain((of) => fc.tuple(fc.constant(of), fc.array(fc.nat(Math.max(of - 1, 0)))));
    fc.assert(
      fc.property(some, ([of, spans]) => {
        const expected = new Set(of === 0 ? [] : spans);
        const set = new SpanSet(of, spans);
        expect([...set]).toEqual([...expected].toSorted((a, b) => a - b));
        expect(set.size).toBe(expected.size);
        expect(set.isWhole).toBe(expected.size === of);
        expect([...SpanSet.ofRuns(of, set.runs())]).toEqual([...set]);
        const rest = set.rest();
        expect(rest.size + set.size).toBe(of);
        expect([...rest].filter((span) => set.has(span))).toEqual([]);
      }),
    );
  });
});

/** A ledger in plain values. */
function plain(content: LedgerContent | undefined) {
  return (
    content && { ...content, records: content.records.map(({ place, spans }) => [place, spans.of, ...spans]) }
  );
}

const number = fc.oneof(fc.nat(200), fc.maxSafeNat());
const position = fc.record({ segment: fc.maxSafeNat().map((id) => Math.max(id, 1)), offset: number });
const spans = fc.nat(100).chain((of) => fc.array(fc.nat(of)).map((indexes) => new SpanSet(of, indexes)));
const content: fc.Arbitrary<LedgerContent> = fc.record({
  mark: number,
  segments: fc.array(fc.record({ id: number, salt: fc.nat(2 ** 31 - 1) })),
  base: fc.option(position, { nil: undefined }),
  ranges: fc.array(fc.record({ from: position, to: position, spans: number })),
  records: fc.array(
    fc.record({
      place: fc
        .tuple(position, fc.nat(1000))
        .map(([{ segment, offset }, index]) => ({ segment, offset, index })),
      spans,
    }),
  ),
});

const SMALL: LedgerContent = {
  mark: 3,
  segments: [{ id: 7, salt: 0xabcdef01 }],
  base: { segment: 7, offset: 32 },
  ranges: [{ from: { segment: 7, offset: 200 }, to: { segment: 7, offset: 400 }, spans: 12 }],
  records: [{ place: { segment: 7, offset: 32, index: 1 }, spans: new SpanSet(6, [0, 1, 4]) }],
};

describe('the bytes of a ledger', () => {
  test('are those that are written down', () => {
    const bytes = encodeLedger(SMALL);
    expect(bytes.subarray(0, 8).toString('latin1')).toBe('MTRLEDG\u0001');
    expect(bytes.readUInt32LE(8)).toBe(bytes.length - HEAD_SIZE);
    const salt = [0x81, 0xde, 0xb7, 0xde, 0x0a];
    const range = [1, 7, 0xc8, 1, 7, 0x90, 3, 12];
    const record = [1, 7, 32, 1, 6, 4, 0, 2, 2, 1];
    expect([...bytes.subarray(HEAD_SIZE)]).toEqual([3, 1, 7, ...salt, 7, 32, ...range, ...record]);
  });

  test('of any ledger are read back as it was', () => {
    fc.assert(
      fc.property(content, (written) => {
        expect(plain(decodeLedger(encodeLedger(written)))).toEqual(plain(written));
      }),
    );
  });

  test('are damaged with any bit changed, cut anywhere, and of any other version', () => {
    const bytes = encodeLedger(SMALL);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeLedger(damaged), `bit ${bit}`).toBeUndefined();
    }
    for (let length = 0; length < bytes.length; length++)
      expect(decodeLedger(bytes.subarray(0, length)), `${length} bytes`).toBeUndefined();
    expect(plain(decodeLedger(Buffer.concat([bytes, Buffer.alloc(7)])))).toEqual(plain(SMALL));
  });

  test('that are no ledger are none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(decodeLedger(Buffer.from(bytes))).toBeUndefined();
      }),
    );
  });
});

test('a ledger takes few bytes: what left in order behind one that stays is one range, and every second span two bytes each', () => {
  const range = {
    from: { segment: 2 ** 40, offset: 2 ** 30 },
    to: { segment: 2 ** 41, offset: 64 },
    spans: 2 ** 30,
  };
  const none = { mark: 1, segments: [], base: undefined, ranges: [], records: [] };
  expect(encodeLedger({ ...none, ranges: [range] }).length - encodeLedger(none).length).toBeLessThanOrEqual(
    40,
  );
  const half = new SpanSet(
    100_000,
    Array.from({ length: 50_000 }, (_, index) => 2 * index + 1),
  );
  const records = [{ place: { segment: 1, offset: 32, index: 0 }, spans: half }];
  expect(encodeLedger({ ...none, records }).length).toBeLessThan(100_100);
});
