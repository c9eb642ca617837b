import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FairShare } from '../../src/queue/fair-share.ts';
import type { Segment } from '../../src/queue/segment.ts';
import { Tally } from '../../src/queue/tally.ts';
import { countRecord } from '../../src/queue/waiting-spans.ts';

const MAX = 1000;
let nextId = 1;

/** A segment with so many bytes of each sender. */
function segment(bytes: Readonly<Record<string, number>>): Segment {
  const tally = new Tally();
  for (const [sender, count] of Object.entries(bytes)) {
    const route = { name: 'default', destinations: ['mlflow'], variables: {} };
    countRecord({ spans: 1, sender, receivedAt: 0, route }, count, tally);
  }
  return { id: nextId++, path: '', salt: 0, end: 0, size: 0, tally };
}

function inQueue(segments: readonly Segment[]): number {
  return segments.flatMap(({ tally }) => [...tally]).reduce((sum, [, { bytes }]) => sum + bytes, 0);
}

describe('FairShare', () => {
  test.each<[string, Readonly<Record<string, number>>, string, number, boolean]>([
    ['up to nine tenths, anybody', { a: 900 }, 'a', 100, true],
    ['above, not the one that filled it', { a: 901 }, 'a', 1, false],
    ['above, one that is new', { a: 901 }, 'b', 90, true],
    ['above, one with less than its share, up to it', { a: 700, b: 210 }, 'b', 123, true],
    ['and no further', { a: 700, b: 210 }, 'b', 124, false],
    ['two that filled it leave room for a third', { a: 460, b: 450 }, 'a', 1, false],
    ['which may have it', { a: 460, b: 450 }, 'c', 90, true],
  ])('%s', (_, bytes, sender, size, expected) => {
    const segments = [segment(bytes)];
    expect(new FairShare(MAX, segments).allows(sender, size, inQueue(segments))).toBe(expected);
  });

  test('counts what is on its way, until it is there', () => {
    const segments = [segment({ a: 905 })];
    const share = new FairShare(MAX, segments);
    share.onTheWay('b', 300);
    expect(share.allows('b', 40, 905)).toBe(false);
    share.onTheWay('b', -300);
    expect(share.allows('b', 40, 905)).toBe(true);
  });

  test('follows segments that are added and removed', () => {
    const segments = [segment({ a: 500 }), segment({ a: 405 })];
    const share = new FairShare(MAX, segments);
    expect(share.allows('a', 10, 905)).toBe(false);
    segments.shift();
    segments.push(segment({ b: 500 }));
    expect(share.allows('a', 10, 905)).toBe(false); // 405 of 333
    expect(share.allows('c', 10, 905)).toBe(true);
    segments.splice(0, 1, segment({ a: 300 }));
    expect(share.allows('a', 10, 905)).toBe(true); // 300 of 333
  });

  test('one sender alone never takes the last tenth, and whoever comes then may have it', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 100 }), (sizes) => {
        const segments = [segment({})];
        const share = new FairShare(MAX, segments);
        let total = 0;
        for (const bytes of sizes) {
          if (!share.allows('a', bytes, total)) continue;
          const route = { name: 'default', destinations: ['mlflow'], variables: {} };
          countRecord({ spans: 1, sender: 'a', receivedAt: 0, route }, bytes, segments[0]!.tally);
          total += bytes;
        }
        expect(total).toBeLessThanOrEqual(0.9 * MAX + Math.max(...sizes));
        expect(share.allows('b', MAX - total, total) || total <= 0.9 * MAX).toBe(true);
      }),
    );
  });
});
