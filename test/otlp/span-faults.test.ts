import fc from 'fast-check';
import { expect, test } from 'vitest';
import { REPAIR_MARK } from '../../src/otlp/repair-mark.ts';
import { siftTraces } from '../../src/otlp/sift.ts';
import { cutSpans, indexSpans, scanTraces, spanEnds } from '../../src/otlp/wire.ts';
import { len } from './bytes.ts';
import { bytesOf, requestTree, spansOf } from './request-tree.ts';
import type { SpanNode, Tree } from './request-tree.ts';
import { faultKind, withFault } from './span-faults.ts';
import type { Faulty } from './span-faults.ts';

/** The tree with other bytes in some spans. */
function withSpans(tree: Tree, spans: ReadonlyMap<SpanNode, Uint8Array>): Tree {
  return tree.map((node) => {
    if ('fields' in node) return { ...node, fields: withSpans(node.fields, spans) };
    const other = 'span' in node ? spans.get(node) : undefined;
    return other === undefined ? node : { ...node, span: other };
  });
}

/** Bytes of each span, with its tag and length. */
function spansIn(payload: Uint8Array): Buffer[] {
  const ends = spanEnds(payload);
  return indexSpans(payload).map(({ bytes }, index) =>
    Buffer.from(payload.subarray(ends[index]! - bytes, ends[index]!)),
  );
}

const fault = fc.record({ kind: faultKind, places: fc.nat(), which: fc.nat() });
type Fault = typeof fault extends fc.Arbitrary<infer T> ? T : never;

/** Faults in different spans of a valid request, at any place in each; and that what comes out has all else as it was. */
function checkFaults(tree: Tree, faults: readonly Fault[], seen: Record<string, number>): void {
  const nodes = spansOf(tree);
  const faulty = new Map<number, Faulty>();
  for (const { kind, places, which } of faults) {
    const free = nodes.flatMap((_, index) => (faulty.has(index) ? [] : [index]));
    const index = free[which % free.length];
    if (index === undefined) continue;
    faulty.set(index, withFault(nodes[index]!.span, kind, places));
    seen[kind] = (seen[kind] ?? 0) + 1;
  }
  const changed = new Map(Array.from(faulty, ([index, { span }]) => [nodes[index]!, span]));
  const body = bytesOf(withSpans(tree, changed));
  const result = siftTraces(new Uint8Array(body), Infinity);
  if (!result.ok) throw new Error(result.message);

  const stay = nodes.flatMap((_, index) =>
    faulty.has(index) && faulty.get(index)!.mended === undefined ? [] : [index],
  );
  const countOf = (...kinds: Faulty['kind'][]) =>
    [...faulty.values()].filter(({ kind }) => kinds.includes(kind)).length;
  expect(result).toMatchObject({
    spanCount: stay.length,
    unreadableSpanCount: countOf('framing', 'depth'),
    invalidSpanCount: countOf('id'),
    mendedSpanCount: countOf('text'),
    oversizeSpanCount: 0,
  });
  expect(scanTraces(result.payload)).toMatchObject({ ok: true, spanCount: stay.length, invalidSpanCount: 0 });
  // Whole requests, so resources, scopes and unknown fields too.
  const others = cutSpans(bytesOf(tree), (index) => !faulty.has(index));
  const taken = cutSpans(result.payload, (index) => !faulty.has(stay[index]!));
  expect(Buffer.from(taken).equals(others)).toBe(true);
  for (const [position, bytes] of spansIn(result.payload).entries()) {
    const mended = faulty.get(stay[position]!)?.mended;
    if (mended === undefined) continue;
    const header = len(2, bytes).length - bytes.length;
    const content = bytes.subarray(bytes.indexOf(Buffer.from(mended)));
    expect(bytes.length - content.length).toBeLessThanOrEqual(header + 2);
    expect(content.includes(REPAIR_MARK)).toBe(mended.length < content.length);
    expect(content.subarray(0, mended.length).equals(mended)).toBe(true);
  }
}

test.each([1, 2])(
  'property: %i faults, each of any kind at any place of a span, leave all other spans as they are',
  (count) => {
    const seen: Record<string, number> = {};
    fc.assert(
      fc.property(
        requestTree.filter((tree) => spansOf(tree).length > 0),
        fc.array(fault, { minLength: count, maxLength: count }),
        (tree, faults) => checkFaults(tree, faults, seen),
      ),
      { numRuns: 2000 },
    );
    for (const kind of ['text', 'framing', 'depth', 'id']) expect(seen[kind]).toBeGreaterThan(200);
  },
);
