import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Unstorable } from '../../src/destinations/destination.ts';
import { repairForMlflow } from '../../src/destinations/mlflow-repair.ts';
import { ExportTraceServiceRequest } from '../../src/otlp/schema.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { encode, long, SESSION } from './spans.ts';

const WORK = { left: Infinity };
const NUL = { unstorable: new Set<Unstorable>(['NUL']) };
const BOTH = { unstorable: new Set<Unstorable>(['NUL', 'surrogates']) };
const repaired = (payload: Uint8Array, mending: Parameters<typeof repairForMlflow>[2]) =>
  repairForMlflow(payload, { ...WORK }, mending);

describe('bad text', () => {
  const payload = encode({ attributes: [['k', 'a\0b']] }, { attributes: [['k', String.raw`["\ud83d"]`]] });

  test('stays where nobody has refused it', () => {
    expect(repairForMlflow(payload)).toBeUndefined();
  });

  test('is taken out where it was refused, and the span is marked', () => {
    const words = 'U+FFFD in place of NUL: attributes';
    expect(repaired(payload, NUL)).toEqual({
      payload: encode(
        {
          attributes: [
            ['k', 'a\ufffdb'],
            ['relay.repaired', words],
          ],
        },
        { attributes: [['k', String.raw`["\ud83d"]`]] },
      ),
      spans: new Map([[0, words]]),
      shared: new Map(),
    });
  });

  test('of both kinds is told of each', () => {
    expect([...(repaired(payload, BOTH)?.spans.values() ?? [])]).toEqual([
      'U+FFFD in place of NUL: attributes',
      'U+FFFD in place of half of a surrogate pair: attributes',
    ]);
  });

  test('is taken out before a text is cut, in one mark', () => {
    const both = encode({ attributes: [[SESSION, `\0${long}`]] });
    const words = 'U+FFFD in place of NUL: attributes; session.id: cut from 301 to 250 characters';
    expect(repaired(both, NUL)?.payload).toEqual(
      encode({
        attributes: [
          [SESSION, `\ufffd${long}`.slice(0, 250)],
          ['relay.repaired', words],
        ],
      }),
    );
  });

  test('is taken out of a span that is too large for all else', () => {
    const large = encode({ attributes: [['k', `\0${'x'.repeat(2 * 1024 * 1024)}`]] });
    expect([...(repaired(large, NUL)?.spans ?? [])]).toEqual([[0, 'U+FFFD in place of NUL: attributes']]);
  });
});

const withResource = (value: object) => ({
  resourceSpans: [
    {
      resource: { attributes: [{ key: 'r', value }] },
      scopeSpans: [
        {
          spans: [
            {
              traceId: Buffer.alloc(16, 1),
              spanId: Buffer.alloc(8, 1),
              attributes: [{ key: 'k', value: { bytesValue: Buffer.from('a') } }],
            },
          ],
        },
      ],
    },
  ],
});

test('bytes of a resource are told as a text, and those of a span stay', () => {
  const bytes = { unstorable: new Set<Unstorable>(['bytes']) };
  const after = repaired(bytesOf(withResource({ bytesValue: Buffer.from('abc') })), bytes);
  expect(after?.spans).toEqual(new Map([[0, 'base64 in place of bytes: resource']]));
  expect(withoutMarks(after?.payload ?? new Uint8Array())).toEqual(
    bytesOf(withResource({ stringValue: 'YWJj' })),
  );
  expect(after?.shared?.size).toBe(1);
});

const bytesOf = (message: object) =>
  Buffer.from(ExportTraceServiceRequest.encode(ExportTraceServiceRequest.fromObject(message)).finish());

/** By the text as JSON has it: from the left, a backslash and what belongs to it. */
const withoutAny = (of: string) => {
  const raw = of.replaceAll('\0', '\ufffd');
  if (!/^\s*["[{]/.test(raw)) return raw;
  return raw.replaceAll(/\\ud83d\\ude00|\\u(?:0000|d83d|de00)|\\[^]/gu, (letters) =>
    /^\\u(0000|d83d|de00)$/.test(letters) ? String.raw`\ufffd` : letters,
  );
};

describe('properties', () => {
  const UNITS = ['\0', 'a', '\\', '"', 'u0000', 'ud83d', 'ude00', '{', '😀', '\ufffd'];
  const text = fc.array(fc.constantFrom(...UNITS), { maxLength: 8 }).map((units) => units.join(''));
  const value = fc.letrec<{ value: object }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      text.map((stringValue) => ({ stringValue })),
      fc.constantFrom({}, { intValue: 5 }, { bytesValue: Buffer.from('a\0') }),
      fc.array(tie('value'), { maxLength: 3 }).map((values) => ({ arrayValue: { values } })),
      fc
        .array(fc.record({ key: text, value: tie('value') }), { maxLength: 3 })
        .map((values) => ({ kvlistValue: { values } })),
    ),
  })).value;
  const attributes = fc.array(fc.record({ key: text, value }), { maxLength: 3 });
  const constantIds = {
    traceId: fc.constant(Buffer.alloc(16, 1)),
    spanId: fc.constant(Buffer.alloc(8, 1)),
  };
  const span = fc.record({
    name: text,
    traceState: text,
    attributes,
    events: fc.array(fc.record({ name: text, attributes }), { maxLength: 2 }),
    links: fc.array(fc.record({ attributes, traceState: text, ...constantIds }), { maxLength: 2 }),
    status: fc.record({ message: text }),
    ...constantIds,
  });
  const request = fc.record({
    resourceSpans: fc.array(
      fc.record({
        resource: fc.record({ attributes }),
        schemaUrl: text,
        scopeSpans: fc.array(
          fc.record({
            scope: fc.record({ name: text, version: text, attributes }),
            schemaUrl: text,
            spans: fc.array(span, { maxLength: 3 }),
          }),
          { maxLength: 2 },
        ),
      }),
      { maxLength: 2 },
    ),
  });

  const mapTexts = (of: unknown, map: (text: string) => string): unknown => {
    if (typeof of === 'string') return map(of);
    if (of instanceof Uint8Array || typeof of !== 'object' || of === null) return of;
    if (Array.isArray(of)) return of.map((inner) => mapTexts(inner, map));
    return Object.fromEntries(Object.entries(of).map(([key, inner]) => [key, mapTexts(inner, map)]));
  };

  test('none is left in any place, at any depth, and all else is as it was', () => {
    fc.assert(
      fc.property(request, (message) => {
        const payload = bytesOf(message);
        const after = repaired(payload, BOTH);
        const expected = bytesOf(mapTexts(message, withoutAny) as object);
        expect(repaired(expected, BOTH)).toBeUndefined();
        if (after === undefined) return;
        expect(withoutMarks(after.payload)).toEqual(expected);
        expect(scanTraces(after.payload)).toMatchObject({ ok: true, invalidSpanCount: 0 });
        expect(repaired(after.payload, BOTH)).toBeUndefined();
      }),
    );
  });
});

function withoutMarks(payload: Uint8Array): Buffer {
  const decoded = ExportTraceServiceRequest.toObject(ExportTraceServiceRequest.decode(payload)) as Decoded;
  for (const { scopeSpans = [] } of decoded.resourceSpans ?? [])
    for (const { spans = [] } of scopeSpans)
      for (const one of spans)
        one.attributes = (one.attributes ?? []).filter(({ key }) => key !== 'relay.repaired');
  return bytesOf(decoded);
}

type Decoded = { resourceSpans?: { scopeSpans?: { spans?: { attributes?: { key: string }[] }[] }[] }[] };
