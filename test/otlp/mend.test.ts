import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { siftTraces } from '../../src/otlp/sift.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { cutSpans } from '../../src/otlp/wire.ts';
import { GOOD_IDS, group, hex, join, len, nest, requestOf } from './bytes.ts';
import { bytesOf, requestTree, spansOf } from './request-tree.ts';
import { siftCopy } from './sift-copy.ts';
import type { Tree } from './request-tree.ts';

const BROKEN = hex('61 ff 62');
const MENDED = 'a\ufffdb';
const MARK = 'relay.repaired';
const marked = (...places: string[]) => `U+FFFD in place of broken text: ${places.join(', ')}`;

type Attributes = { key: string; value?: { stringValue?: string } }[];
type Json = {
  resourceSpans: {
    resource?: { attributes?: Attributes };
    schemaUrl?: string;
    scopeSpans: { scope?: { name?: string; attributes?: Attributes }; spans?: Record<string, unknown>[] }[];
  }[];
};

function sift(payload: Uint8Array, repair = true) {
  const result = siftCopy(payload, { repair });
  return Object.assign(result, { json: tracesToJson(result.payload) as Json });
}

const span = (...fields: Uint8Array[]) => join(GOOD_IDS, ...fields);
const attribute = (key: Uint8Array | string, value: Uint8Array) => len(9, len(1, key), len(2, value));
const markOf = (attributes: unknown) =>
  (attributes as Attributes | undefined)
    ?.filter(({ key }) => key === MARK)
    .map(({ value }) => value?.stringValue);

describe('a span with broken text is mended and marked', () => {
  test.each<[string, Uint8Array, string, object]>([
    ['its name', len(5, BROKEN), 'Span.name', { name: MENDED }],
    ['its trace state', len(3, BROKEN), 'Span.trace_state', { traceState: MENDED }],
    ['its status', len(15, len(2, BROKEN)), 'Status.message', { status: { message: MENDED } }],
    ['an event', len(11, len(2, BROKEN)), 'Event.name', { events: [{ name: MENDED }] }],
    ['a link', len(13, len(3, BROKEN)), 'Link.trace_state', { links: [{ traceState: MENDED }] }],
    [
      'an attribute of an event, by its key',
      len(11, len(3, len(1, 'why'), len(2, len(1, BROKEN)))),
      'why',
      { events: [{ attributes: [{ key: 'why', value: { stringValue: MENDED } }] }] },
    ],
  ])('%s', (_, field, place, expected) => {
    const result = sift(requestOf(span(), span(field), span()));
    expect(result).toMatchObject({
      spanCount: 3,
      mendedSpanCount: 1,
      unreadableSpanCount: 0,
      invalidSpanCount: 0,
    });
    expect(result.mended).toBe(`span 1 (counted from 0): ${place}`);
    const spans = result.json.resourceSpans[0]!.scopeSpans[0]!.spans!;
    expect(spans[1]).toMatchObject(expected);
    expect(spans.map(({ attributes }) => markOf(attributes))).toEqual([
      undefined,
      [marked(place)],
      undefined,
    ]);
  });

  test.each<[string, Uint8Array, string]>([
    ['a value', attribute('prompt', len(1, BROKEN)), 'prompt'],
    ['a value in lists and maps', attribute('a', len(5, len(1, len(6, len(1, len(1, BROKEN)))))), 'a'],
    ['a key', attribute(BROKEN, len(1, 'x')), MENDED],
    ['a value before its key', len(9, len(2, len(1, BROKEN)), len(1, 'late')), 'late'],
    ['a value without a key', len(9, len(2, len(1, BROKEN))), 'AnyValue.string_value'],
    ['a long key', attribute('k'.repeat(300), len(1, BROKEN)), 'k'.repeat(100)],
  ])('the attribute is named: %s', (_, field, place) => {
    const { json } = sift(requestOf(span(field)));
    const attributes = json.resourceSpans[0]!.scopeSpans[0]!.spans![0]!['attributes'];
    expect(markOf(attributes)).toEqual([marked(place)]);
    expect(JSON.stringify(attributes)).toContain(MENDED);
  });

  test('several places are named, many are not all', () => {
    const fields = Array.from({ length: 20 }, (_, i) => attribute(`key${i}`, len(1, BROKEN)));
    const { json } = sift(requestOf(span(len(5, BROKEN), ...fields)));
    const spans = json.resourceSpans[0]!.scopeSpans[0]!.spans!;
    const places = ['Span.name', ...Array.from({ length: 7 }, (_, i) => `key${i}`)];
    expect(markOf(spans[0]!['attributes'])).toEqual([marked(...places)]);
    expect(JSON.stringify(spans)).not.toContain('key19"}');
  });
});

const list = (inner: Uint8Array) => len(5, len(1, inner));

describe('what cannot be mended costs its span', () => {
  test.each<[string, Uint8Array, string]>([
    ['too deep', attribute('k', nest(48, len(1, 'x'), list)), 'messages nested more than 100 deep'],
    ['groups too deep', nest(99, hex(''), (inner) => group(20, inner)), 'nesting deeper than 99'],
    ['a field that is longer than the span', hex('2a05 00'), 'a field longer than what is around it'],
    [
      'a field that is longer than its attribute',
      len(9, hex('0a05 00')),
      'a field longer than what is around it',
    ],
    ['a number that is cut off', hex('30ff'), 'a number that is cut off or too long'],
    ['more than 64 bits', hex(`30${'ff'.repeat(9)}02`), 'a number of more than 64 bits'],
    ['a wire type that is none', len(15, hex('0f')), 'wire type 7, which does not exist'],
  ])('%s', (_, field, problem) => {
    const good = span(len(5, 'good'));
    const result = sift(requestOf(good, span(field), span(len(5, BROKEN)), len(1, 'x')));
    expect(result).toMatchObject({
      spanCount: 2,
      unreadableSpanCount: 1,
      unreadable: `span 1 (counted from 0): ${problem}`,
      mendedSpanCount: 1,
      mended: 'span 2 (counted from 0): Span.name',
      invalidSpanCount: 1,
      problem: 'span 3 (counted from 0): trace id of 1 bytes, not 16',
    });
    expect(Buffer.from(cutSpans(result.payload, (index) => index === 0)).equals(requestOf(good))).toBe(true);
  });

  test('broken text, where it is not to be mended', () => {
    const good = requestOf(span(len(5, 'good')));
    const result = sift(join(requestOf(span(len(5, BROKEN))), good), false);
    expect(result).toMatchObject({
      spanCount: 1,
      unreadableSpanCount: 1,
      unreadable: 'span 0 (counted from 0): invalid UTF-8 in Span.name',
      mendedSpanCount: 0,
    });
    expect(Buffer.from(result.payload).equals(good)).toBe(true);
  });

  test('bytes that are no text stay', () => {
    const body = requestOf(span(attribute('k', len(7, BROKEN)), len(30, BROKEN)));
    expect(sift(body)).toMatchObject({ mendedSpanCount: 0, spanCount: 1 });
    expect(Buffer.from(sift(body).payload).equals(body)).toBe(true);
  });

  test('framing that is lost above the spans is bad for all', () => {
    const good = requestOf(span());
    for (const bad of [
      '0a05 00',
      '0a02 1205',
      '0a04 1202 1205',
      '0a02 0f00',
      '0a04 1202 0f00',
      '0a01 1a',
    ].map(hex)) {
      expect(siftTraces(join(good, bad), Infinity)).toMatchObject({ ok: false, message: expect.any(String) });
    }
  });
});

const around = (text: Uint8Array) => len(1, len(1, len(1, 'service.name'), len(2, len(1, text))));
const scope = (text: Uint8Array) => len(1, len(1, text));

describe('what is around spans', () => {
  test('is mended and marked itself, before or behind its spans; the spans stay as they are', () => {
    const good = span(len(5, 'good'));
    const spans = len(2, len(2, good), len(2, good));
    for (const content of [join(around(BROKEN), spans), join(spans, around(BROKEN))]) {
      const result = sift(join(requestOf(good), len(1, content)));
      expect(result).toMatchObject({
        spanCount: 3,
        mendedSpanCount: 2,
        mended: 'ResourceSpans 1 (counted from 0): service.name',
      });
      const [first, second] = result.json.resourceSpans;
      expect(markOf(first!.resource?.attributes)).toBeUndefined();
      expect(second!.resource!.attributes).toMatchObject([
        { key: 'service.name', value: { stringValue: MENDED } },
        { key: MARK, value: { stringValue: marked('service.name') } },
      ]);
      expect(second!.scopeSpans[0]!.spans).toEqual(
        (tracesToJson(requestOf(good, good)) as Json).resourceSpans[0]!.scopeSpans[0]!.spans,
      );
    }
  });

  test('a scope, and addresses of schemas', () => {
    const body = len(
      1,
      len(3, BROKEN),
      len(2, scope(BROKEN), len(2, span())),
      len(2, len(3, BROKEN), len(2, span())),
    );
    const { json, mendedSpanCount } = sift(body);
    expect(mendedSpanCount).toBe(2);
    const [{ resource, schemaUrl, scopeSpans }] = json.resourceSpans as [Json['resourceSpans'][number]];
    expect(schemaUrl).toBe(MENDED);
    expect(markOf(resource!.attributes)).toEqual([marked('ResourceSpans.schema_url')]);
    expect(scopeSpans[0]!.scope!.name).toBe(MENDED);
    expect(scopeSpans.map((each) => markOf(each.scope!.attributes))).toEqual([
      [marked('InstrumentationScope.name')],
      [marked('ScopeSpans.schema_url')],
    ]);
  });

  test.each<[string, Uint8Array, string, number]>([
    ['a resource', len(1, len(1, hex('0f')), len(2, len(2, span()), len(2, span()))), 'ResourceSpans 1', 2],
    [
      'a scope',
      len(1, len(2, len(1, hex('0f')), len(2, span())), len(2, len(2, span()))),
      'ScopeSpans 0 of ResourceSpans 1',
      1,
    ],
  ])('%s that cannot be read costs what is under it', (_, bad, place, lost) => {
    const good = requestOf(span(len(5, 'good')));
    const result = sift(join(good, bad, good));
    expect(result).toMatchObject({
      unreadableSpanCount: lost,
      unreadable: `under ${place} (counted from 0): wire type 7, which does not exist`,
    });
    const rest = lost === 2 ? [good, good] : [good, requestOf(span()), good];
    expect(Buffer.from(result.payload).equals(join(...rest))).toBe(true);
  });

  test('broken text in a resource, where it is not to be mended', () => {
    const good = requestOf(span());
    const result = sift(join(len(1, around(BROKEN), len(2, len(2, span()))), good), false);
    expect(result).toMatchObject({ unreadableSpanCount: 1, spanCount: 1 });
    expect(Buffer.from(result.payload).equals(good)).toBe(true);
  });

  test('property: a fault around spans costs these, or is mended, and nothing else is touched', () => {
    const treeWithPlace = requestTree
      .filter((tree) => tree.some((node) => 'fields' in node))
      .chain((tree) =>
        fc.record({ tree: fc.constant(tree), which: fc.nat(), isText: fc.boolean(), isScope: fc.boolean() }),
      );
    let mended = 0;
    let lost = 0;
    fc.assert(
      fc.property(treeWithPlace, ({ tree, which, isText, isScope }) => {
        const resources = tree.filter((node) => 'fields' in node);
        const scopes = resources.flatMap(({ fields }) => fields.filter((node) => 'fields' in node));
        const envelopes = isScope && scopes.length > 0 ? scopes : resources;
        const chosen = envelopes[which % envelopes.length]!;
        const own = isText ? len(3, BROKEN) : len(1, hex('0f'));
        const spoil = (nodes: Tree): Tree =>
          nodes.map((node) => {
            if (!('fields' in node)) return node;
            return { ...node, fields: [...spoil(node.fields), ...(node === chosen ? [{ raw: own }] : [])] };
          });
        const under = new Set(spansOf(chosen.fields));
        const result = siftTraces(new Uint8Array(bytesOf(spoil(tree))), Infinity);
        if (!result.ok) throw new Error(result.message);
        if (isText) mended += under.size;
        else lost += under.size;
        expect(result).toMatchObject({
          mendedSpanCount: isText ? under.size : 0,
          unreadableSpanCount: isText ? 0 : under.size,
          spanCount: spansOf(tree).length - (isText ? 0 : under.size),
        });
        const nodes = spansOf(tree);
        const others = cutSpans(bytesOf(tree), (index) => !under.has(nodes[index]!));
        const stay = isText ? nodes : nodes.filter((node) => !under.has(node));
        const taken = cutSpans(result.payload, (index) => !under.has(stay[index]!));
        expect(Buffer.from(taken).equals(others)).toBe(true);
      }),
      { numRuns: 1000 },
    );
    expect(Math.min(mended, lost)).toBeGreaterThan(100);
  });
});
