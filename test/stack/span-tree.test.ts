import { expect, test } from 'vitest';
import type { StoredSpan } from './mlflow-client.ts';
import { spanTree } from './span-tree.ts';

function span(
  spanId: string,
  parentSpanId: string,
  start: number,
  more: Partial<StoredSpan> = {},
): StoredSpan {
  return {
    traceId: '00'.repeat(16),
    spanId,
    parentSpanId,
    name: `span ${spanId}`,
    start: BigInt(start) * 1_000_000n,
    end: BigInt(start + 250) * 1_000_000n,
    attributes: {},
    events: [],
    links: [],
    status: { code: 'STATUS_CODE_UNSET', message: '' },
    ...more,
  };
}

test('children stand under their parent in the order they began', () => {
  const tokens = { 'gen_ai.usage.input_tokens': 12, 'gen_ai.usage.output_tokens': 3 };
  expect(
    spanTree([
      span('d', 'a', 30),
      span('c', 'b', 20, { attributes: tokens }),
      span('b', 'a', 10),
      span('a', '', 0),
    ]),
  ).toEqual([
    'span a          0.25 s',
    '├─ span b       0.25 s',
    '│  └─ span c    0.25 s   12 + 3 tokens',
    '└─ span d       0.25 s',
  ]);
});

test('a span whose parent is not there is shown all the same', () => {
  expect(spanTree([span('a', 'elsewhere', 0)])).toEqual(['span a    0.25 s']);
  expect(spanTree([])).toEqual([]);
});
