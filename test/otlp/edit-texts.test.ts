import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { editTexts } from '../../src/otlp/edit-texts.ts';
import { ExportTraceServiceRequest } from '../../src/otlp/schema.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { group, hex, len, SPAN_ID, TRACE_ID } from './bytes.ts';
import { bytesOf, requestTree } from './request-tree.ts';

const encode = (request: object) =>
  Buffer.from(ExportTraceServiceRequest.encode(ExportTraceServiceRequest.fromObject(request)).finish());

const IDS = { traceId: Buffer.from(hex(TRACE_ID)), spanId: Buffer.from(hex(SPAN_ID)) };
const asText = (text: Uint8Array) => Buffer.from(text).toString();
const longer = {
  text: (text: Uint8Array) =>
    asText(text).includes('!') ? Buffer.from(asText(text).replaceAll('!', '<bad>')) : undefined,
};

type Around = { resource?: object; scope?: object; resourceUrl?: string; scopeUrl?: string };
const requestOf = (span: object, { resource, scope, resourceUrl, scopeUrl }: Around = {}) => ({
  resourceSpans: [
    {
      ...(resource && { resource }),
      scopeSpans: [
        {
          ...(scope && { scope }),
          spans: [{ ...IDS, ...span }],
          ...(scopeUrl !== undefined && { schemaUrl: scopeUrl }),
        },
      ],
      ...(resourceUrl !== undefined && { schemaUrl: resourceUrl }),
    },
  ],
});
const attribute = (value: object, key = 'k') => ({ attributes: [{ key, value }] });
const deep = (value: object): object => ({
  kvlistValue: { values: [{ key: 'a', value: { arrayValue: { values: [value] } } }] },
});

describe('a text is changed', () => {
  test.each<[string, (text: string) => object, string]>([
    ['the name of a span', (name) => requestOf({ name }), 'name'],
    ['its trace state', (traceState) => requestOf({ traceState }), 'trace state'],
    ['the message of its status', (message) => requestOf({ status: { message, code: 2 } }), 'status'],
    ['a value', (text) => requestOf(attribute({ stringValue: text })), 'attributes'],
    [
      'a value deep in lists and maps',
      (text) => requestOf(attribute(deep({ stringValue: text }))),
      'attributes',
    ],
    ['a key', (key) => requestOf(attribute({ intValue: 1 }, key)), 'attributes'],
    [
      'a key deep in a map',
      (key) => requestOf(attribute(deep({ kvlistValue: { values: [{ key }] } }))),
      'attributes',
    ],
    ['the name of an event', (name) => requestOf({ events: [{ name, timeUnixNano: 5 }] }), 'events'],
    ['a value of an event', (text) => requestOf({ events: [attribute({ stringValue: text })] }), 'events'],
    ['the state of a link', (traceState) => requestOf({ links: [{ ...IDS, traceState }] }), 'links'],
    [
      'a value of a link',
      (text) => requestOf({ links: [{ ...IDS, ...attribute({ stringValue: text }) }] }),
      'links',
    ],
  ])('%s', (_, make, field) => {
    const edited = editTexts(encode(make('a!b')), longer);
    expect(edited?.payload).toEqual(encode(make('a<bad>b')));
    expect([...(edited?.spans ?? [])]).toEqual([[0, { fields: [field], shared: undefined }]]);
    expect(editTexts(encode(make('ab')), longer)).toBeUndefined();
    expect(editTexts(encode(make('a!b')), longer, undefined, { aroundOnly: true })).toBeUndefined();
  });

  test.each<[string, (text: string) => object, string]>([
    ['of a resource', (text) => requestOf({}, { resource: attribute({ stringValue: text }) }), 'resource'],
    ['the name of a scope', (name) => requestOf({}, { scope: { name } }), 'scope'],
    ['an address of a schema', (url) => requestOf({}, { resourceUrl: url }), 'schema url'],
    ['an address of the schema of a scope', (url) => requestOf({}, { scopeUrl: url }), 'schema url'],
  ])('around spans: %s', (_, make, field) => {
    const edited = editTexts(encode(make('a!b')), longer);
    expect(edited?.payload).toEqual(encode(make('a<bad>b')));
    expect(editTexts(encode(make('a!b')), longer, undefined, { aroundOnly: true })).toEqual(edited);
    expect(edited?.spans.get(0)).toEqual({ fields: [field], shared: expect.any(String) });
  });

  test('but not bytes, ids, unknown fields and groups', () => {
    const payload = Buffer.concat([
      encode(requestOf(attribute({ bytesValue: Buffer.from('a!b') }))),
      len(1, len(50, 'a!b'), group(30, len(1, 'a!b')), len(2, len(2, len(50, '!')))),
    ]);
    expect(editTexts(payload, longer)).toBeUndefined();
  });
});

const hexOf = (value: Uint8Array) => Buffer.from(Buffer.from(value).toString('hex'));
const withValue = (value: object) =>
  encode(requestOf(attribute({ stringValue: 'a!' }), { resource: attribute(deep(value)) }));

test('a text takes the place of bytes, at any depth, and of nothing else', () => {
  const edited = editTexts(withValue({ bytesValue: Buffer.from([0, 1]) }), { bytes: hexOf });
  expect(edited?.payload).toEqual(withValue({ stringValue: '0001' }));
  expect(edited?.spans.get(0)?.fields).toEqual(['resource']);
  expect(editTexts(withValue({ stringValue: '0001' }), { bytes: hexOf })).toBeUndefined();
});

const shared = (...resources: string[]) => {
  const [...resourceSpans] = resources.flatMap(
    (text) => requestOf({}, { resource: attribute({ stringValue: text }) }).resourceSpans,
  );
  return [...(editTexts(encode({ resourceSpans }), longer)?.spans.values() ?? [])].map((span) => span.shared);
};

/** The one ResourceSpans of a request with a field more behind all others. */
function rewrapped(request: Uint8Array, field: Uint8Array): Uint8Array {
  const content = request.subarray(request.length < 130 ? 2 : 3);
  return len(1, content, field);
}

describe('what spans share', () => {
  test('is the same for the same that was changed, and only then', () => {
    const [one, other, same] = shared('!', '!!', '!');
    expect(one).toBe(same);
    expect(one).not.toBe(other);
    expect(shared('!')).toEqual([one]);
  });

  test('is nothing where the span itself was changed, too', () => {
    const request = requestOf({ name: '!' }, { resource: attribute({ stringValue: '!' }) });
    const { spans = new Map<number, unknown>() } = editTexts(encode(request), longer) ?? {};
    expect([...spans]).toEqual([[0, { fields: ['name', 'resource'], shared: undefined }]]);
  });

  test('is told of all spans beneath, wherever the resource stands', () => {
    const two = [{ ...IDS }, { ...IDS, name: '!' }];
    const good = encode({
      resourceSpans: [{ scopeSpans: [{ spans: two }, { scope: { name: '!' }, spans: [IDS] }] }],
    });
    const resource = len(1, len(1, len(1, '!'), len(2, len(1, 'v'))));
    // Fields of one message may come in any order, and a message in pieces.
    const payload = Buffer.concat([
      encode({ resourceSpans: [{ scopeSpans: [{ spans: [IDS] }] }] }),
      rewrapped(good, resource),
    ]);
    const spans = [...(editTexts(payload, longer)?.spans ?? [])].toSorted(([a], [b]) => a - b);
    expect(spans.map(([index, { fields, shared: digest }]) => [index, fields, digest !== undefined])).toEqual(
      [
        [1, ['resource'], true],
        [2, ['name', 'resource'], false],
        [3, ['scope', 'resource'], true],
      ],
    );
  });
});

test('what begins when no work is left stays as it is', () => {
  const payload = encode({
    resourceSpans: [{ scopeSpans: [{ spans: Array.from({ length: 100 }, () => ({ ...IDS, name: '!' })) }] }],
  });
  const work = { left: 500 };
  const edited = editTexts(payload, longer, work);
  const done = [...(edited?.spans.keys() ?? [])];
  expect(done.length).toBeGreaterThan(0);
  expect(done.length).toBeLessThan(50);
  expect(work.left).toBeLessThanOrEqual(0);
  expect(editTexts(payload, longer, { left: 0 })).toBeUndefined();
});

test('bytes that were not scanned are a bug', () => {
  expect(() => editTexts(hex('0a05 00'), longer)).toThrow('a payload that was not scanned');
});

const toggled = (text: Uint8Array) => Buffer.concat([Buffer.from('toggled '), text]);
const toggledBack = (text: Uint8Array) =>
  asText(text).startsWith('toggled ') ? text.subarray(8) : undefined;

test('property: what is changed and changed back is as it was, byte for byte', () => {
  fc.assert(
    fc.property(requestTree, (tree) => {
      const payload = bytesOf(tree);
      const there = editTexts(payload, { text: toggled });
      if (there === undefined) return;
      expect(scanTraces(there.payload)).toMatchObject({ ok: true, invalidSpanCount: 0 });
      expect(Buffer.from(editTexts(there.payload, { text: toggledBack })?.payload ?? '')).toEqual(
        Buffer.from(payload),
      );
    }),
  );
});
