import fc from 'fast-check';
import { expect, test } from 'vitest';
import { appendAttribute } from '../../src/otlp/append-attribute.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { GOOD_IDS, hex, join, len, requestOf } from './bytes.ts';
import { bytesOf, requestTree } from './request-tree.ts';
import type { Tree } from './request-tree.ts';

const MARK = len(9, len(1, 'm'), len(2, len(1, 'x')));

const mark = (text: string) => len(9, len(1, 'm'), len(2, len(1, text)));

test('what the attribute said before comes first', () => {
  const other = len(9, len(1, 'n'), len(2, len(1, 'y')));
  const payload = requestOf(join(GOOD_IDS, mark('one'), other, mark('two')), join(GOOD_IDS, mark('stays')));
  const marked = appendAttribute(payload, 'm', new Map([[0, 'three']]));
  expect(Buffer.from(marked)).toEqual(
    Buffer.from(requestOf(join(GOOD_IDS, other, mark('one; two; three')), join(GOOD_IDS, mark('stays')))),
  );
});

test('a span gets the attribute behind all else, and another nothing', () => {
  const payload = requestOf(GOOD_IDS, GOOD_IDS);
  const marked = appendAttribute(payload, 'm', new Map([[1, 'x']]));
  expect(marked).toEqual(Buffer.from(requestOf(GOOD_IDS, join(GOOD_IDS, MARK))));
  expect(appendAttribute(payload, 'm', new Map([[2, 'x']]))).toBe(payload);
});

test('bytes that were not scanned are a bug', () => {
  expect(() => appendAttribute(hex('0a05 00'), 'm', new Map())).toThrow('a payload that was not scanned');
});

const marked = (tree: Tree, isMarked: (index: number) => boolean, next = { index: 0 }): Tree =>
  tree.map((node) => {
    if ('raw' in node) return node;
    if ('fields' in node) return { ...node, fields: marked(node.fields, isMarked, next) };
    return isMarked(next.index++) ? { ...node, span: join(node.span, MARK) } : node;
  });

test('property: some spans get an attribute, and every other byte stays', () => {
  fc.assert(
    fc.property(requestTree, fc.uniqueArray(fc.nat({ max: 40 })), (tree, chosen) => {
      const payload = bytesOf(tree);
      const result = appendAttribute(payload, 'm', new Map(chosen.map((index) => [index, 'x'])));
      const expected = bytesOf(marked(tree, (index) => chosen.includes(index)));
      expect(Buffer.from(result)).toEqual(Buffer.from(expected));
      expect(scanTraces(expected)).toMatchObject({ ok: true, invalidSpanCount: 0 });
    }),
  );
});
