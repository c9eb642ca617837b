import type { StoredValue } from '../../src/inject/stored-trace.ts';

/*
 * Texts, and as what MLflow 3.17.2 and 3.18.0 show them where they are attributes of spans; those of events and links
 * stay as they are. Python reads the JSON in them, and its numbers are more than the standard's.
 */

/** Of these only, 3.10.0 shows the text. */
export const LISTS: [text: string, shown: StoredValue][] = [
  ['[1,2]', [1, 2]],
  ['[]', []],
  ['["[1]",{"a":[]}]', ['[1]', { a: [] }]],
];

export const SHOWN_TEXTS: [text: string, shown: StoredValue][] = [
  ...LISTS,
  ['{"a":[1,"x"]}', { a: [1, 'x'] }],
  [' {"a": 1} ', { a: 1 }],
  ['{}', {}],
  ['{"a":"[1]","b":"\\"q\\"","c":null,"d":true}', { a: '[1]', b: '"q"', c: null, d: true }],
  ['{"a":1,"a":2}', { a: 2 }],
  ['{"a":1.0,"b":-0,"c":1e20}', { a: 1, b: 0, c: 1e20 }],
  ['{"a":4611686018427387905,"b":-9007199254740993}', { a: 2n ** 62n + 1n, b: -(2n ** 53n) - 1n }],
  ['{"a":NaN,"b":[Infinity,-Infinity],"c":1e400}', { a: 'NaN', b: ['Infinity', '-Infinity'], c: 'Infinity' }],
  [String.raw`{"a":"\"NaN\" is no number","b":NaN}`, { a: '"NaN" is no number', b: 'NaN' }],
  ['"quoted"', 'quoted'],
  ['"1"', '1'],
  ['""', ''],
  [JSON.stringify('{"a":1}'), '{"a":1}'],
  [JSON.stringify(JSON.stringify('"x"')), JSON.stringify('"x"')],
  ...['', 'plain', '1', 'true', 'null', 'NaN', "{'a': 1}", '{"a":NaN1}', '{"a":', '"NaN', '+1'].map(
    (text): [string, string] => [text, text],
  ),
];
