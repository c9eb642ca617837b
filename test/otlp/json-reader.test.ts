import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonMisfit, JsonReader } from '../../src/otlp/json-reader.ts';
import { skipValue } from '../../src/otlp/json-skip.ts';

function read(text: string): void {
  const reader = new JsonReader(Buffer.from(text));
  skipValue(reader);
  reader.end();
}

/** Whether the reader takes a text as one JSON value; anything thrown but JsonMisfit is a bug. */
function takes(text: string): boolean {
  try {
    read(text);
    return true;
  } catch (error) {
    if (error instanceof JsonMisfit) return false;
    throw error;
  }
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const TEXTS = [
  [
    '',
    ' ',
    '{}',
    '[]',
    '[ ]',
    '{ }',
    ' \t\r\n1\n',
    '\v1',
    '\u00a01',
    '\uFEFF1',
    '1 2',
    '[1,]',
    '[,1]',
    '[1 2]',
    '[1',
  ],
  [
    '{"a":1}',
    '{"a":1,}',
    '{"a"}',
    '{"a":}',
    '{a:1}',
    '{1:1}',
    '{,}',
    '{"a":1 "b":2}',
    '{"a":1',
    '[}',
    '{]',
    '{"a":1}}',
  ],
  [
    '0',
    '-0',
    '-',
    '01',
    '-01',
    '1.',
    '.5',
    '1.5',
    '1e5',
    '1E+5',
    '1e',
    '1e+',
    '+1',
    '0x1',
    '1_000',
    '1-2',
    '1.2.3',
    '--1',
  ],
  ['true', 'false', 'null', 'tru', 'nulla', 'True', 'truefalse', 'NaN', 'Infinity', '-Infinity', 'undefined'],
  [
    '""',
    '"',
    '"a',
    "'a'",
    '"\\n\\t\\"\\\\\\/\\b\\f\\r"',
    '"\\u00e9"',
    '"\\u00g9"',
    '"\\u12"',
    '"\\x"',
    '"\\',
    '"\\"',
    '"\t"',
  ],
  ['"\\ud800"', '"\u007f"', '"\u0000"', '"é€😀"', '{"\\u0061":1}', '{"\\q":1}', '/**/1', '1//', '[1]\0'],
].flat();

describe('takes what JSON.parse takes', () => {
  test.each(TEXTS)('%j', (text) => {
    expect(takes(text)).toBe(parses(text));
  });

  test('property: any text of JSON’s characters', () => {
    const piece = fc.constantFrom(
      ...'[]{},:" \n\\-+.eE019tfn',
      'true',
      'false',
      'null',
      '"a"',
      '"a":',
      '\\u0061',
      '1.5',
      'é',
    );
    const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(fc.oneof(text, fc.json()), (json) => {
        expect(takes(json)).toBe(parses(json));
      }),
      { numRuns: 5000 },
    );
  });
});

test('what is wrong is told with its place', () => {
  expect(() => read('[1 2]')).toThrow('expected "," or "]", at byte 3 of 5');
  expect(() => read('{"a" 1}')).toThrow('expected ":", at byte 5 of 7');
  expect(() => read('"a')).toThrow('expected the end of a string, at byte 2 of 2');
  expect(() => read('1 1')).toThrow('expected nothing more, at byte 2 of 3');
  expect(() => read('['.repeat(100_000))).toThrow('expected a value, at byte 100000 of 100000');
  expect(() => read(`${'[{"a":'.repeat(3000)}1}}`)).toThrow('expected "," or "]", at byte 18002 of 18003');
});
