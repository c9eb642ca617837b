import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeSpansOfJson, encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { siftTraces } from '../../src/otlp/sift.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { cutSpans } from '../../src/otlp/wire.ts';
import { SPAN_ID, TRACE_ID } from './bytes.ts';
import { bodyOf, jsonRequest, spansOfBody, spoil, textOf } from './json-faults.ts';

function encode(text: string | Uint8Array) {
  const encoded = encodeSpansOfJson(Buffer.from(text));
  if (!encoded.ok) throw new Error(encoded.message);
  const sifted = siftTraces(new Uint8Array(encoded.payload), Infinity);
  if (!sifted.ok) throw new Error(sifted.message);
  return { encoded, sifted };
}

function valid(text: string): Uint8Array {
  const encoded = encodeTracesJsonNow(Buffer.from(text));
  if (!encoded.ok) throw new Error(encoded.message);
  return encoded.payload;
}

const fault = fc.record({
  kind: fc.constantFrom('misfit', 'misfit', 'text', 'twice', 'oneof', 'depth'),
  place: fc.nat(),
  which: fc.nat(),
});

test.each([1, 2])(
  'property: %i faults, each of any kind at any place of a span, leave all other spans as they are',
  (count) => {
    const seen: Record<string, number> = {};
    fc.assert(
      fc.property(
        jsonRequest.filter((request) => request.flat(2).length > 0),
        fc.array(fault, { minLength: count, maxLength: count }),
        (request, faults) => {
          const body = bodyOf(request);
          const good = valid(textOf(body));
          // Nothing in it is shared between spans.
          const spoilt = JSON.parse(JSON.stringify(body)) as typeof body;
          const spans = spansOfBody(spoilt);
          const faulty = new Map<number, boolean>();
          for (const { kind, place, which } of faults) {
            const index = which % spans.length;
            if (faulty.has(index)) continue;
            faulty.set(index, spoil(spans[index]!, kind as Parameters<typeof spoil>[1], place));
            seen[kind] = (seen[kind] ?? 0) + 1;
          }
          const { encoded, sifted } = encode(textOf(spoilt));
          const stay = spans.flatMap((_, index) => (faulty.get(index) === false ? [] : [index]));
          const lost = spans.length - stay.length;
          const bySpan = {
            left: encoded.unreadableSpanCount + sifted.invalidSpanCount,
            mended: sifted.mendedSpanCount,
          };
          expect(bySpan).toEqual({ left: lost, mended: faulty.size - lost });
          expect(sifted.spanCount).toBe(stay.length);
          const others = cutSpans(good, (index) => !faulty.has(index));
          const taken = cutSpans(sifted.payload, (position) => !faulty.has(stay[position]!));
          expect(Buffer.from(taken).equals(others)).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
    for (const kind of ['misfit', 'text', 'twice', 'oneof', 'depth']) expect(seen[kind]).toBeGreaterThan(200);
  },
);

const ids = `"traceId":"${TRACE_ID}","spanId":"${SPAN_ID}"`;
const good = `{${ids},"name":"good"}`;
const scopes = (...spans: string[]) => `{"scopeSpans":[{"spans":[${spans.join()}]}]}`;
const names = (payload: Uint8Array) =>
  JSON.stringify(tracesToJson(payload)).match(/(?<="name":")[^"]*/g) ?? [];

describe('what is around spans costs what is under it, and the first fault is named', () => {
  test.each<[string, string, number, string]>([
    [
      'a resource',
      `{"resource":{"attributes":7},"scopeSpans":[{"spans":[{},{}]},{"spans":[{}]}]}`,
      3,
      '.resource.attributes: expected an array; found 7',
    ],
    [
      'its address',
      `{"scopeSpans":[{"spans":[{},{}]}],"schemaUrl":[]}`,
      2,
      '.schemaUrl: expected a string; found an array',
    ],
    [
      'a scope',
      `{"scopeSpans":[{"spans":[{}],"scope":"x"},{"spans":[${good}]}]}`,
      1,
      '.scopeSpans[0].scope: expected an object; found text of 1 character',
    ],
    [
      'a name twice',
      `{"scopeSpans":[{"spans":[{}]}],"scopeSpans":[{"spans":[{},{}]}]}`,
      3,
      '.scopeSpans: expected no second value for the same name; found an array',
    ],
    [
      'a name in both ways',
      `{"scopeSpans":[{"spans":[{}]}],"scope_spans":[]}`,
      1,
      '.scopeSpans: expected no second value for the same name; found an array',
    ],
    [
      'spans that are no list',
      `{"scopeSpans":[{"spans":{}}]}`,
      0,
      '.scopeSpans[0].spans: expected an array; found an object',
    ],
    [
      'scopes that are no list',
      `{"scopeSpans":"x"}`,
      0,
      '.scopeSpans: expected an array; found text of 1 character',
    ],
    ['no object', `7`, 0, ': expected an object; found 7'],
    [
      'spans that are no objects',
      scopes('7', good, 'null', '[{}]'),
      3,
      '.scopeSpans[0].spans[0]: expected an object; found 7',
    ],
    [
      'a bad span before a bad scope',
      `{"scopeSpans":[{"spans":[{"name":1},{}],"scope":1}]}`,
      2,
      '.scopeSpans[0].spans[0].name: expected a string; found 1',
    ],
    [
      'the old name',
      `{"instrumentationLibrarySpans":[{"spans":[{},{}]}],"resource":[]}`,
      2,
      '.resource: expected an object; found an array',
    ],
    [
      'both names, of which one counts',
      `{"instrumentationLibrarySpans":[{"spans":[{},{}]}],"scopeSpans":[{"spans":[{}]}],"resource":[]}`,
      1,
      '.resource: expected an object; found an array',
    ],
  ])('%s', (_, resource, lost, problem) => {
    const { encoded, sifted } = encode(`{"resourceSpans":[${scopes(good)},${resource},${scopes(good)}]}`);
    const taken = resource.includes('"good"') ? 3 : 2;
    expect(encoded).toMatchObject({
      unreadableSpanCount: lost,
      unreadable: `resourceSpans[1]${problem}`,
      isEmpty: false,
    });
    expect(names(sifted.payload)).toEqual(Array.from({ length: taken }, () => 'good'));
  });

  test('only what does not parse, or is no request at all, is bad for all', () => {
    for (const text of [
      '{',
      `{"resourceSpans":[${scopes(good)}`,
      '{"resourceSpans":[{"a":tru}]}',
      '{"resourceSpans":7}',
      '[{}]',
      '7',
      '"x"',
      '{"resourceSpans":[],"resourceSpans":[]}',
      `{"resourceSpans":[${scopes('{"name":"\\q"}')}]}`,
    ]) {
      expect(encodeSpansOfJson(Buffer.from(text))).toEqual({
        ok: false,
        message: expect.stringContaining('in JSON: '),
      });
    }
  });
});

const named = (name: string | Uint8Array) => {
  const [before, behind] = `{"resourceSpans":[${scopes(`{${ids},"name":"?"}`, good)}]}`.split('?') as [
    string,
    string,
  ];
  return Buffer.concat([Buffer.from(before), Buffer.from(name), Buffer.from(behind)]);
};

describe('broken text', () => {
  test.each<[string, string | Uint8Array, string]>([
    ['the first half of a pair', 'a\\ud83d', 'a\ufffd'],
    ['the second half', '\\ude00b', '\ufffdb'],
    ['both in the wrong order', '\\ude00\\ud83d', '\ufffd\ufffd'],
    ['a half before a pair', '\\ud83d\\ud83d\\ude00', '\ufffd😀'],
    ['bytes that are no UTF-8', Buffer.from([0x61, 0xff, 0x62]), 'a\ufffdb'],
    ['a character that is cut off', Buffer.from([0xe2, 0x82]), '\ufffd'],
    [
      'a character that is cut off, before a half',
      Buffer.concat([Buffer.from([0xf0, 0x9f]), Buffer.from('\\ud800\\n')]),
      '\ufffd\ufffd\n',
    ],
  ])('gets U+FFFD: %s', (_, written, meant) => {
    const { encoded, sifted } = encode(named(written));
    expect(encoded).toMatchObject({ unreadableSpanCount: 0 });
    expect(sifted).toMatchObject({
      spanCount: 2,
      mendedSpanCount: 1,
      mended: 'span 0 (counted from 0): Span.name',
    });
    const [{ scopeSpans }] = (
      tracesToJson(sifted.payload) as { resourceSpans: [{ scopeSpans: { spans: { name: string }[] }[] }] }
    ).resourceSpans;
    expect(scopeSpans[0]!.spans.map(({ name }) => name)).toEqual([meant, 'good']);
  });

  test('in what is no text is a fault of the span', () => {
    for (const id of ['\\ud800', `${SPAN_ID.slice(0, 14)}\\ud800aa`]) {
      const { encoded } = encode(
        `{"resourceSpans":[${scopes(`{"traceId":"${TRACE_ID}","spanId":"${id}"}`, good)}]}`,
      );
      expect(encoded).toMatchObject({
        unreadableSpanCount: 1,
        unreadable: expect.stringContaining('spans[0].spanId: expected hex'),
      });
    }
  });

  test('in a name that nobody knows is passed over', () => {
    const { sifted } = encode(
      Buffer.concat([
        Buffer.from('{"'),
        Buffer.from([0xff]),
        Buffer.from(`":"\\ud800","resourceSpans":[${scopes(good)}]}`),
      ]),
    );
    expect(sifted).toMatchObject({ spanCount: 1, mendedSpanCount: 0 });
  });
});
