import { describe, expect, test } from 'vitest';
import {
  editSpans,
  LARGE_LIST,
  LARGE_MAP,
  LARGEST_EDITABLE_SPAN,
  LARGEST_VALUE,
} from '../../src/otlp/edit-spans.ts';
import type { AttributeValue, EditableSpan, PlainValue, SpanEdit } from '../../src/otlp/edit-spans.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { GOOD_IDS, group, hex, join, len, nest, requestOf, tag, varint } from './bytes.ts';

const KEYS = new Set(['k', 'other']);
const fixed64 = (fieldNumber: number, value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return join(tag(fieldNumber, 1), bytes);
};
const attribute = (key: string, value: Uint8Array) => len(9, len(1, key), len(2, value));
const text = (value: string) => len(1, value);

const listOf = (item: string) => len(5, len(1, text(item)));
/** The value of an attribute: a list of one text. */
const list = (item: string) => len(2, listOf(item));
/** A request with these fields among others in its scope. */
const around = (...fields: Uint8Array[]) =>
  join(group(30, len(1, 'g')), len(1, len(9, 'z'), len(2, len(40, 'y'), ...fields, len(3, 'url')), len(1)));

/** What `edit` was given, and what came of it. */
function edited(payload: Uint8Array, edit?: SpanEdit, isMeant: (index: number) => boolean = () => true) {
  const seen: EditableSpan[] = [];
  const result = editSpans(payload, KEYS, (span, index) => {
    expect(index).toBe(seen.length);
    seen.push(span);
    return isMeant(index) ? edit : undefined;
  });
  return { seen, result };
}

describe('what is seen of a span', () => {
  test('its times, unsigned, and the attributes with these keys', () => {
    const span = join(
      GOOD_IDS,
      attribute('k', text('v')),
      fixed64(7, 2n ** 64n - 1n),
      attribute('not asked for', text('v')),
      fixed64(8, 5n),
      attribute('other', text('w')),
    );
    expect(edited(requestOf(span, GOOD_IDS))).toEqual({
      seen: [
        {
          start: 2n ** 64n - 1n,
          end: 5n,
          attributes: [
            { key: 'k', value: 'v' },
            { key: 'other', value: 'w' },
          ],
        },
        { start: 0n, end: 0n, attributes: [] },
      ],
      result: undefined,
    });
  });

  test('of repeated fields the last, of repeated values all together', () => {
    const span = join(
      GOOD_IDS,
      fixed64(7, 1n),
      fixed64(7, 2n),
      len(9, len(1, 'x'), list('a'), list('b'), len(1, 'k')),
    );
    expect(edited(requestOf(span)).seen).toEqual([
      { start: 2n, end: 0n, attributes: [{ key: 'k', value: ['a', 'b'] }] },
    ]);
  });

  test('of a repeated key the last attribute, in its place', () => {
    const span = join(
      GOOD_IDS,
      attribute('k', text('1')),
      attribute('other', text('w')),
      attribute('k', text('2')),
    );
    expect(edited(requestOf(span)).seen[0]!.attributes).toEqual([
      { key: 'other', value: 'w' },
      { key: 'k', value: '2' },
    ]);
  });

  test.each<[string, Uint8Array, PlainValue]>([
    ['a text', text('ä😀'), 'ä😀'],
    ['an empty text', text(''), ''],
    ['true', join(tag(2, 0), varint(1)), true],
    ['false', join(tag(2, 0), varint(0)), false],
    ['an integer', join(tag(3, 0), varint(-5)), -5],
    ['the largest integer, nearly', join(tag(3, 0), varint(2n ** 63n - 1n)), 2 ** 63],
    ['a number', join(tag(4, 1), hex('000000000000e03f')), 0.5],
    ['bytes', len(7, hex('ff00')), new Uint8Array([0xff, 0])],
    ['an empty list', len(5), []],
    ['a list', len(5, len(1, text('a')), len(1)), ['a', null]],
    ['a map', len(6, len(1, len(1, 'a'), len(2, text('b'))), len(1, len(1, 'n'))), { a: 'b', n: null }],
    [
      'of a repeated key the last',
      len(6, ...['1', '2'].map((v) => len(1, len(1, 'a'), len(2, text(v))))),
      { a: '2' },
    ],
    ['nothing', new Uint8Array(), null],
    ['what it does not know', join(tag(99, 0), varint(1)), null],
    ['what has another type than it says', join(tag(1, 0), varint(1)), null],
  ])('%s', (_, bytes, value) => {
    const payload = requestOf(join(GOOD_IDS, attribute('k', bytes)));
    const [seen] = edited(payload).seen[0]!.attributes;
    expect(seen?.value instanceof Uint8Array ? new Uint8Array(seen.value) : seen?.value).toEqual(value);
  });

  test('a value as deep as the receiver takes', () => {
    const value = nest(47, text('x'), (inner) => len(5, len(1, inner)));
    const payload = requestOf(join(GOOD_IDS, attribute('k', value)));
    expect(scanTraces(payload).ok).toBe(true);
    expect(JSON.stringify(edited(payload).seen[0]?.attributes[0]?.value)).toBe(
      `${'['.repeat(47)}"x"${']'.repeat(47)}`,
    );
  });
});

const late = () => ({ end: 9n });
const mib = (bytes: string) => Buffer.alloc(1024 * 1024 - 300, hex(bytes));
const start0 = fixed64(7, 0n);
const requestOfMany = (span: Uint8Array, bytes: number) =>
  len(1, len(2, Buffer.concat(Array<Uint8Array>(Math.floor(bytes / span.length)).fill(span))));

const attributes = (count: number) =>
  join(...Array.from({ length: count }, () => join(attribute('k', text('v')), attribute('z', text('v')))));
const pieces = (count: number, key: string) =>
  len(9, ...Array.from({ length: count }, () => list('a')), len(1, key));

describe('what would cost much', () => {
  const aLot = 'x'.repeat(LARGEST_VALUE);
  const isTrue = join(tag(2, 0), varint(1));

  test.each<[string, Uint8Array, AttributeValue]>([
    ['a large list is not read', listOf(aLot), LARGE_LIST],
    ['nor is a large map', len(6, len(1, len(1, aLot))), LARGE_MAP],
    ['nor are many small lists', join(...Array.from({ length: 20_000 }, () => listOf('a'))), LARGE_LIST],
    ['a large text is', text(aLot), aLot],
    ['what is before a large list does not count', join(isTrue, listOf(aLot)), LARGE_LIST],
    ['nor what is before a large text', join(listOf('a'), text(aLot)), aLot],
    ['a small value after large ones counts alone', join(listOf(aLot), text(aLot), isTrue), true],
    ['one before what nobody knows', join(isTrue, len(99, aLot)), true],
    ['one before what has another type than it says', join(isTrue, len(3, aLot)), true],
    ['nothing but what nobody knows', len(99, aLot), null],
  ])('%s', (_, bytes, value) => {
    expect(bytes.length).toBeGreaterThan(LARGEST_VALUE);
    const [seen] = edited(requestOf(join(GOOD_IDS, attribute('k', bytes)))).seen[0]!.attributes;
    expect(seen?.value).toBe(value);
  });

  test('a list that is just not too large is read', () => {
    const bytes = listOf('x'.repeat(LARGEST_VALUE - 9));
    expect(bytes.length).toBe(LARGEST_VALUE);
    const [seen] = edited(requestOf(join(GOOD_IDS, attribute('k', bytes)))).seen[0]!.attributes;
    expect(seen?.value).toEqual(['x'.repeat(LARGEST_VALUE - 9)]);
  });

  test.each<[string, boolean, Uint8Array]>([
    ['64 attributes of these keys: seen', true, attributes(64)],
    ['65: not', false, attributes(65)],
    ['a value in 64 pieces: seen', true, pieces(64, 'k')],
    ['in 65: not', false, pieces(65, 'k')],
    ['in 65 of another key: seen', true, pieces(65, 'z')],
  ])('a span with %s', (_, isSeen, fields) => {
    const before = len(2, fields, GOOD_IDS);
    const seen: number[] = [];
    const result = editSpans(around(before, len(2, GOOD_IDS)), KEYS, (_span, index) => {
      seen.push(index);
      return index === 1 ? { end: 9n } : undefined;
    });
    expect(seen).toEqual(isSeen ? [0, 1] : [1]);
    expect(result).toEqual(Buffer.from(around(before, len(2, GOOD_IDS, fixed64(8, 9n)))));
  });
});

describe('the work for a batch', () => {
  const bad = len(2, GOOD_IDS, attribute('k', text('v')));

  test('a span of more than 1 MiB stays as it is, and the one behind it has its own place', () => {
    const fits = join(GOOD_IDS, len(99, 'x'.repeat(LARGEST_EDITABLE_SPAN - GOOD_IDS.length - 5)));
    expect(fits.length).toBe(LARGEST_EDITABLE_SPAN);
    const seen: number[] = [];
    editSpans(around(len(2, fits), len(2, fits, start0), bad), KEYS, (_span, index) => {
      seen.push(index);
      return undefined;
    });
    expect(seen).toEqual([0, 2]);
  });

  test('where none is left, spans stay as they are, and all bytes stay where they are', () => {
    const work = { left: 3 * 400 };
    const payload = around(bad, bad, bad, bad, bad, bad);
    const count = (bytes: Uint8Array | undefined) => (bytes!.length - payload.length) / 9;
    const some = editSpans(payload, KEYS, late, work);
    expect(scanTraces(some!)).toMatchObject({ ok: true, spanCount: 6, invalidSpanCount: 0 });
    expect(count(some)).toBeGreaterThan(0);
    expect(count(some)).toBeLessThan(6);
    expect(work.left).toBeLessThanOrEqual(0);
    expect(editSpans(payload, KEYS, late, work)).toBeUndefined();
    expect(count(editSpans(payload, KEYS, late))).toBe(6);
  });

  const emptyItems = len(5, Buffer.alloc(LARGEST_VALUE - 100, hex('0a00')));
  test.each<[string, Uint8Array]>([
    ['empty attributes', mib('4a00')],
    ['fields that nobody knows', mib('7800')],
    ['such fields in a group', join(hex('a306'), mib('7800'), hex('a406'))],
    ['lists of empty values', attribute('k', emptyItems)],
    ['small spans', attribute('k', text('x'))],
  ])('is counted for %s', (_, fields) => {
    const one = len(2, GOOD_IDS, fields);
    const payload = requestOfMany(one, 8 * 1024 * 1024);
    const work = { left: 1_000_000 };
    editSpans(payload, KEYS, () => undefined, work);
    expect(work.left).toBeLessThan(0);
    expect(work.left).toBeGreaterThan(-2_000_000);
  });
});

describe('what is changed', () => {
  const start = fixed64(7, 7n);
  const old = attribute('k', text('old'));
  const unknown = join(tag(77, 0), varint(7));

  test.each<[string, Uint8Array, SpanEdit, Uint8Array]>([
    [
      'a time stays where it is',
      join(start, GOOD_IDS, unknown),
      { start: 9n },
      join(fixed64(7, 9n), GOOD_IDS, unknown),
    ],
    [
      'of a repeated time the last is changed',
      join(start, start, GOOD_IDS),
      { start: 9n },
      join(start, fixed64(7, 9n), GOOD_IDS),
    ],
    [
      'a missing time is appended',
      join(GOOD_IDS, unknown),
      { end: 9n },
      join(GOOD_IDS, unknown, fixed64(8, 9n)),
    ],
    [
      'a value is replaced',
      join(GOOD_IDS, old, unknown),
      { attributes: new Map([[0, 'néw']]) },
      join(GOOD_IDS, attribute('k', text('néw')), unknown),
    ],
    [
      'of a repeated key the last value is replaced',
      join(old, GOOD_IDS, old, unknown),
      { attributes: new Map([[0, 'new']]) },
      join(old, GOOD_IDS, attribute('k', text('new')), unknown),
    ],
    [
      'an attribute is left out, and what its key has before it',
      join(old, GOOD_IDS, attribute('other', text('v')), old, unknown),
      { attributes: new Map([[1, undefined]]) },
      join(GOOD_IDS, attribute('other', text('v')), unknown),
    ],
    [
      'all at once',
      join(old, start, GOOD_IDS, attribute('other', text('old'))),
      {
        start: 1n,
        end: 2n,
        attributes: new Map([
          [0, 'a'],
          [1, 'b'],
        ]),
      },
      join(
        attribute('k', text('a')),
        fixed64(7, 1n),
        GOOD_IDS,
        attribute('other', text('b')),
        fixed64(8, 2n),
      ),
    ],
  ])('%s', (_, before, edit, after) => {
    const { result } = edited(around(len(2, GOOD_IDS), len(2, before)), edit, (index) => index === 1);
    expect(result).toEqual(Buffer.from(around(len(2, GOOD_IDS), len(2, after))));
  });

  test('bytes that were not scanned are a bug', () => {
    expect(() => editSpans(hex('0a05 00'), KEYS, () => undefined)).toThrow('a payload that was not scanned');
  });
});
