import { describe, expect, test } from 'vitest';
import { siftTraces } from '../../src/otlp/sift.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { GOOD_IDS, hex, join, len, requestOf } from './bytes.ts';
import { siftCopy } from './sift-copy.ts';

type Json = { resourceSpans: { scopeSpans: { scope?: object }[] }[] };

const span = (...fields: Uint8Array[]) => join(GOOD_IDS, ...fields);
const BROKEN = hex('61 ff 62');

const old = (...spans: Uint8Array[]) =>
  len(1000, len(1, len(1, 'lib')), ...spans.map((each) => len(2, each)));

test('is read where scope_spans has no span', () => {
  const body = join(len(1, old(span(len(5, 'a')), span()), len(2)), requestOf(span()));
  const { payload, spanCount } = siftCopy(body);
  const json = tracesToJson(payload) as Json;
  expect(spanCount).toBe(3);
  const [, lib] = [...json.resourceSpans[0]!.scopeSpans].toSorted((one) =>
    one.scope === undefined ? -1 : 1,
  );
  expect(lib).toMatchObject({ scope: { name: 'lib' }, spans: [{ name: 'a' }, {}] });
});

describe('the list of before OTLP 0.15, by its number of 0.15 to 0.19', () => {
  test('is passed over where scope_spans has spans', () => {
    const body = len(1, old(span()), len(2, len(2, span())));
    expect(siftCopy(body).spanCount).toBe(1);
    expect(Buffer.from(siftCopy(body).payload).equals(body)).toBe(true);
  });

  test('costs a span what it costs elsewhere, also with a tag that is longer than it must be', () => {
    const content = join(len(2, span(len(5, BROKEN))), len(2, hex('0f')), len(2, span()));
    const longTag = join(hex('c2be8000'), Uint8Array.of(content.length), content);
    expect(siftCopy(len(1, longTag))).toMatchObject({
      spanCount: 2,
      mendedSpanCount: 1,
      unreadableSpanCount: 1,
    });
    expect(siftTraces(len(1, len(1000, hex('0f'))), Infinity)).toMatchObject({ ok: false });
  });

  test('millions of lists need no memory of their own', () => {
    const lists = Buffer.alloc(6_000_000).map((_, at) => [0xc2, 0x3e, 0][at % 3]!);
    const body = len(1, lists, old(span()));
    const before = process.memoryUsage();
    expect(siftTraces(body, Infinity)).toMatchObject({ ok: true, spanCount: 1 });
    const after = process.memoryUsage();
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(
      4_000_000,
    );
  });
});
