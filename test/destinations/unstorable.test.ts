import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { withoutIn } from '../../src/destinations/unstorable.ts';
import type { BadText } from '../../src/destinations/unstorable.ts';

const mended = (text: string, bad: BadText) => {
  const result = withoutIn(Buffer.from(text), bad);
  return result && Buffer.from(result).toString();
};

describe('NUL', () => {
  test.each([
    ['as it is', 'a\0b\0', 'a\ufffdb\ufffd'],
    ['in JSON that is none with it', '{"k":"\0"}', '{"k":"\ufffd"}'],
    ['as an escape in an object', String.raw`{"k":"a\u0000b"}`, String.raw`{"k":"a\ufffdb"}`],
    ['in a key', String.raw`{"\u0000":1}`, String.raw`{"\ufffd":1}`],
    ['in a list', String.raw` ["\u0000\u0000"]`, String.raw` ["\ufffd\ufffd"]`],
    ['in a text in quotes', String.raw`"\u0000"`, String.raw`"\ufffd"`],
    ['behind an escaped backslash and an escape', String.raw`"\\\u0000"`, String.raw`"\\\ufffd"`],
    ['behind another escape', String.raw`"\n\u0000\u00e9"`, String.raw`"\n\ufffd\u00e9"`],
    ['in both ways', String.raw`["\u0000` + '\0"]', String.raw`["\ufffd` + '\ufffd"]'],
    ['in JSON that is cut', String.raw`{"k":"\u0000`, String.raw`{"k":"\ufffd`],
  ])('%s', (_, before, after) => {
    expect(mended(before, 'NUL')).toBe(after);
    expect(mended(after, 'NUL')).toBeUndefined();
  });

  test.each([
    ['nothing', ''],
    ['a text about it', String.raw`a\u0000b`],
    ['JSON with a text about it', String.raw`{"k":"a\\u0000b"}`],
    ['JSON in JSON', JSON.stringify({ k: JSON.stringify({ k: '\0' }) })],
    ['another escape', String.raw`"\u0001\u00001"`.replace(String.raw`\u0000`, String.raw`\u0010`)],
    ['an escape that is none', String.raw`"\u00g0\u000`],
    ['half a pair', String.raw`"\ud83d"`],
  ])('stays: %s', (_, text) => {
    expect(mended(text, 'NUL')).toBeUndefined();
  });
});

describe('half a surrogate pair', () => {
  test.each([
    ['the first', String.raw`{"k":"\ud83d"}`, String.raw`{"k":"\ufffd"}`],
    ['the second', String.raw`["\uDE00"]`, String.raw`["\ufffd"]`],
    ['two first', String.raw`"\ud83d\ud83d\ude00"`, String.raw`"\ufffd\ud83d\ude00"`],
    ['the wrong way round', String.raw`"\ude00\ud83d"`, String.raw`"\ufffd\ufffd"`],
    ['before another escape', String.raw`"\ud83d\n"`, String.raw`"\ufffd\n"`],
    ['before a text about the other half', String.raw`"\ud83d\\ude00"`, String.raw`"\ufffd\\ude00"`],
    ['where a text ends', String.raw`"\ud83d`, String.raw`"\ufffd`],
  ])('%s', (_, before, after) => {
    expect(mended(before, 'surrogates')).toBe(after);
    expect(mended(after, 'surrogates')).toBeUndefined();
  });

  test.each([
    ['a pair', String.raw`"\ud83d\ude00"`],
    ['a text about it', String.raw`\ud83d`],
    ['JSON with a text about it', String.raw`"\\ud83d"`],
    ['NUL', '\0'],
    ['its letter', '"😀"'],
  ])('stays: %s', (_, text) => {
    expect(mended(text, 'surrogates')).toBeUndefined();
  });
});

const replaceIn = (value: unknown, bad: BadText): unknown => {
  if (typeof value === 'string') return replaced(value, bad);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [replaced(key, bad), inner]));
};
const replaced = (text: string, bad: BadText) =>
  bad === 'NUL' ? text.replaceAll('\0', '\ufffd') : text.toWellFormed();

/** An escape counts as one. */
const lettersOf = (text: string) => text.match(/\\u[0-9a-f]{4}|[^]/gu) ?? [];

describe('properties', () => {
  /** JSON as programs write it, some with letters as escapes. */
  const json = fc
    .tuple(
      fc.jsonValue({
        stringUnit: fc.constantFrom('\0', '\ud83d', '\ude00', '😀', '\\', '"', 'u0000', 'ud83d', 'é'),
      }),
      fc.boolean(),
    )
    .map(([value, isAscii]) => {
      const written = JSON.stringify(value);
      return isAscii ? written.replaceAll('é', String.raw`\u00e9`) : written;
    });

  test('what JSON says is the same, with U+FFFD in place of what is taken out', () => {
    fc.assert(
      fc.property(json, fc.constantFrom<BadText>('NUL', 'surrogates'), (text, bad) => {
        const said = (of: string) =>
          JSON.stringify(JSON.parse(of), (_, value: unknown) => replaceIn(value, bad));
        // A text without anything around it is taken for what it is.
        fc.pre(/^["[{]/.test(text));
        const after = mended(text, bad);
        expect(JSON.stringify(JSON.parse(after ?? text))).toBe(said(text));
        expect(mended(after ?? '', bad)).toBeUndefined();
      }),
    );
  });

  test('of any text none is left, and all else is as it was', () => {
    const text = fc
      .array(fc.constantFrom('\\', 'u0000', 'ud83d', 'ude00', '\0', '"', '{', 'a', '😀'), { maxLength: 12 })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(text, fc.constantFrom<BadText>('NUL', 'surrogates'), (before, bad) => {
        const after = mended(before, bad);
        if (after === undefined) return;
        expect(mended(after, bad)).toBeUndefined();
        expect(after).not.toContain(bad === 'NUL' ? '\0' : 'no such text');
        const [was, is] = [lettersOf(before), lettersOf(after)];
        expect(is).toHaveLength(was.length);
        const changed = is.filter((letter, at) => letter !== was[at]);
        expect(changed.filter((letter) => !/^(\ufffd|\\ufffd)$/.test(letter))).toEqual([]);
      }),
    );
  });
});
