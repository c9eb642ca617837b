import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { repairForMlflow } from '../../src/destinations/mlflow-repair.ts';
import { MOST_REPAIR_WORK } from '../../src/destinations/destination.ts';
import { CONVERSATION, COST, encode, LATEST, long, NOW, quoted, SESSION, USAGE } from './spans.ts';
import type { Attributes, TestSpan, Value } from './spans.ts';

const GOOD: TestSpan = { attributes: [['k', 'v']] };

type Repaired = { payload: Buffer; spans: [number, string][]; again: unknown };

/** What becomes of a span between two good ones, and whether there is more to mend then. */
function repaired(span: TestSpan): Repaired | undefined {
  const repair = repairForMlflow(encode(GOOD, span, GOOD));
  if (repair === undefined) return undefined;
  const { payload, spans } = repair;
  return { payload: Buffer.from(payload), spans: [...spans], again: repairForMlflow(payload) };
}

function asRepaired(words: string, span: TestSpan): Repaired {
  const marked: TestSpan = { ...span, attributes: [...(span.attributes ?? []), ['relay.repaired', words]] };
  return { payload: encode(GOOD, marked, GOOD), spans: [[1, words]], again: undefined };
}

describe('a value that is too long', () => {
  it.each<[string, string, number, number]>([
    [SESSION, long, 300, 250],
    [CONVERSATION, long, 300, 250],
    [SESSION, '😀'.repeat(251), 251, 250],
    [SESSION, `a${'😀'.repeat(250)}`, 251, 250],
    [SESSION, quoted(long), 302, 250],
    [SESSION, quoted([long]), 304, 250],
    ['user.id', 'u'.repeat(8001), 8001, 8000],
    ['mlflow.spanType', 'T'.repeat(501), 501, 500],
    ['mlflow.spanType', quoted('T'.repeat(499)), 501, 500],
    ['mlflow.traceTag.mlflow.traceName', 'n'.repeat(4097), 4097, 4096],
  ])('%s, %.20s…: is cut', (key, value, length, limit) => {
    const text = [...value].slice(0, limit).join('');
    expect(
      repaired({
        attributes: [
          ['a', 1],
          [key, value],
          ['b', 2],
        ],
      }),
    ).toEqual(
      asRepaired(`${key}: cut from ${length} to ${limit} characters`, {
        attributes: [
          ['a', 1],
          [key, text],
          ['b', 2],
        ],
      }),
    );
  });

  it.each<[string, Value]>([
    ['a list', [long]],
    ['a map', { a: long }],
    ['bytes', Buffer.alloc(300)],
  ])('and no text, but %s: is left out', (_, value) => {
    expect(
      repaired({
        attributes: [
          [SESSION, value],
          ['b', 2],
        ],
      }),
    ).toEqual(
      asRepaired('session.id: left out, as it is more than 250 characters long and no text', {
        attributes: [['b', 2]],
      }),
    );
  });

  it('does not count where the same key comes again', () => {
    const again: Attributes = [
      [SESSION, long],
      [SESSION, 'x'],
    ];
    expect(repairForMlflow(encode({ attributes: again }))).toBeUndefined();
    expect(repaired({ attributes: again.toReversed() })).toEqual(
      asRepaired('session.id: cut from 300 to 250 characters', {
        attributes: [
          [SESSION, 'x'],
          [SESSION, 'x'.repeat(250)],
        ],
      }),
    );
  });

  it('is looked at in a conversation only where no session id stays', () => {
    expect(
      repairForMlflow(
        encode({
          attributes: [
            [SESSION, 's'],
            [CONVERSATION, long],
          ],
        }),
      ),
    ).toBeUndefined();
    const words = [
      ...(repairForMlflow(
        encode({
          attributes: [
            [CONVERSATION, long],
            [SESSION, [long]],
          ],
        }),
      )?.spans ?? []),
    ];
    expect(words).toEqual([
      [
        0,
        'gen_ai.conversation.id: cut from 300 to 250 characters; session.id: left out, as it is more than 250 characters long and no text',
      ],
    ]);
  });
});

describe('costs', () => {
  it.each<Value>([
    quoted([1, 2]),
    [1, 2],
    [],
    5,
    0,
    0.5,
    true,
    null,
    'abc',
    '5',
    'null',
    '',
    quoted('{"total_cost":1}'),
    Buffer.from('ab'),
  ])('that are no object: %o', (value) => {
    expect(repaired({ attributes: [[COST, value]] })).toEqual(
      asRepaired('mlflow.llm.cost: left out, as it is not an object', {}),
    );
  });

  it.each<Value>([
    '{"total_cost":"1.5"}',
    ' {"total_cost":null}',
    '{"total_cost":[1]}',
    { total_cost: '1.5' },
    { total_cost: null },
    { input_cost: 1, total_cost: { a: 1 } },
  ])('that are no numbers: %o', (value) => {
    const words = 'mlflow.llm.cost: left out, as its total_cost is not a number';
    expect(repaired({ attributes: [[COST, value]] })).toEqual(asRepaired(words, {}));
  });

  it.each<Value>(['{"total_cost":1,"x":"deadlock"}', { x: null }, '{"x":{}}', '{"total_cost":NaN,"x":"1"}'])(
    'with other values that are no numbers: %o',
    (value) => {
      const words = 'mlflow.llm.cost: left out, as one of its values is not a number';
      expect(repaired({ attributes: [[COST, value]] })).toEqual(asRepaired(words, {}));
    },
  );
});

describe('counts of tokens', () => {
  it.each<Value>([
    '{"input_tokens":"5"}',
    '{"input_tokens":null}',
    { input_tokens: '5' },
    { output_tokens: 5, input_tokens: [] },
  ])('that are no numbers: %o', (value) => {
    const words = 'mlflow.chat.tokenUsage: left out, as its input_tokens is not a number';
    expect(repaired({ attributes: [[USAGE, value]] })).toEqual(asRepaired(words, {}));
  });
});

describe('what says the type of a span', () => {
  it.each<[string, Value, string]>([
    ['mlflow.spanType', ['a'], 'list'],
    ['mlflow.spanType', { a: 1 }, 'map'],
    ['openinference.span.kind', ['LLM'], 'list'],
    ['openinference.span.kind', '["LLM"]', 'list'],
    ['openinference.span.kind', '{"a":1}', 'map'],
    ['gen_ai.operation.name', [], 'list'],
    ['traceloop.span.kind', {}, 'map'],
    ['ai.operationId', ['a'], 'list'],
    ['span.type', ['a'], 'list'],
    ['entity.type', ['a'], 'list'],
    ['lmnr.span.type', ['a'], 'list'],
    ['langfuse.observation.type', ['a'], 'list'],
  ])('%s as %o is left out', (key, value, what) => {
    expect(repaired({ attributes: [[key, value]] })).toEqual(
      asRepaired(`${key}: left out, as it is a ${what} and no text`, {}),
    );
  });
});

describe('a time that is too late', () => {
  it.each<[string, bigint, bigint, bigint, bigint, string]>([
    ['start', 2n ** 63n, NOW, NOW, NOW, '9223372036854775808 ns replaced by the end time'],
    ['start', 2n ** 64n - 1n, NOW, NOW, NOW, '18446744073709551615 ns replaced by the end time'],
    ['start', 2n ** 63n, 0n, LATEST, 0n, '9223372036854775808 ns replaced by 9223372036854775807'],
    ['end', NOW, 2n ** 63n, NOW, NOW, '9223372036854775808 ns replaced by the start time'],
    ['end', 0n, 2n ** 63n, 0n, LATEST, '9223372036854775808 ns replaced by 9223372036854775807'],
  ])('%s: %d to %d', (which, start, end, newStart, newEnd, words) => {
    expect(repaired({ start, end })).toEqual(
      asRepaired(`${which} time: ${words}, as MLflow stores less than 2^63`, {
        start: newStart,
        end: newEnd,
      }),
    );
  });

  it('both: the latest that is stored', () => {
    const words = ['start', 'end'].map(
      (which) =>
        `${which} time: 9223372036854775808 ns replaced by 9223372036854775807, as MLflow stores less than 2^63`,
    );
    expect(repaired({ start: 2n ** 63n, end: 2n ** 63n })).toEqual(
      asRepaired(words.join('; '), { start: LATEST, end: LATEST }),
    );
  });
});

function workOf(key: string, value: string): number {
  const work = { left: MOST_REPAIR_WORK };
  repairForMlflow(encode({ attributes: [[key, value]] }), work);
  return MOST_REPAIR_WORK - work.left;
}

describe('what is huge', () => {
  const json = `{"a":[${'{},'.repeat(44_000)}0]}`;
  const inQuotes = quoted('x'.repeat(132_000));

  it.each<[string, string, string | undefined]>([
    [SESSION, json, 'cut from 132009 to 250 characters'],
    [SESSION, inQuotes, 'cut from 132002 to 250 characters'],
    ['user.id', inQuotes, 'cut from 132002 to 8000 characters'],
    [COST, json, 'left out, as it is larger than 128 KiB'],
    [USAGE, json, undefined],
    ['span.type', json, undefined],
    // A column of text is looked at for quotes only.
    [SESSION, `[${'{},'.repeat(100)}0]`, 'cut from 303 to 250 characters'],
  ])('%s, %.10s…: is not parsed', (key, value, words) => {
    const payload = encode({ attributes: [[key, value]] });
    const parse = vi.spyOn(JSON, 'parse');
    onTestFinished(() => parse.mockRestore());
    const spans = repairForMlflow(payload)?.spans;
    expect(parse).not.toHaveBeenCalled();
    expect(spans?.get(0)).toBe(words && `${key}: ${words}`);
  });

  const items = Array<Value>(40_000).fill('');
  it.each<[string, Value, string | undefined]>([
    [SESSION, items, 'left out, as it is more than 250 characters long and no text'],
    ['user.id', { items }, 'left out, as it is more than 8000 characters long and no text'],
    ['mlflow.spanType', { items }, 'left out, as it is a map and no text'],
    ['span.type', items, 'left out, as it is a list and no text'],
    [COST, { total_cost: 1, items }, 'left out, as it is larger than 16 KiB'],
    [USAGE, { input_tokens: 'x', items }, undefined],
  ])('%s, a list or a map: is not looked into', (key, value, words) => {
    const spans = repairForMlflow(encode({ attributes: [[key, value]] }))?.spans;
    expect(spans?.get(0)).toBe(words && `${key}: ${words}`);
  });

  it('a batch with spans to mend without end: is left as it is from some span on', () => {
    const work = { left: MOST_REPAIR_WORK / 100 };
    const bad: TestSpan = { attributes: [[COST, null]] };
    const mended = repairForMlflow(encode(...Array.from({ length: 2000 }, () => bad)), work)?.spans.size ?? 0;
    expect(mended).toBeGreaterThan(0);
    expect(mended).toBeLessThan(100);
    expect(work.left).toBeLessThanOrEqual(0);
    expect(repairForMlflow(encode(bad), work)).toBeUndefined();
  });

  it('JSON: counts as work, and more so where it is none', () => {
    const costs = `{"x":${'1'.repeat(300)}}`;
    expect(workOf(USAGE, costs)).toBeGreaterThan(workOf(USAGE, ` x${costs}`) + 300);
    expect(workOf(USAGE, `${costs}x`)).toBeGreaterThan(workOf(USAGE, costs) + 300);
  });

  it('a span with many such attributes: is told of once, or left as it is', () => {
    const attributes = Array.from({ length: 64 }, () => ['span.type', {}] as const);
    expect(repaired({ attributes })).toEqual(
      asRepaired('span.type: left out, as it is a map and no text', {}),
    );
    expect(repaired({ attributes: [...attributes, ...attributes] })).toBeUndefined();
  });
});

it('mends several spans, and all of a span at once', () => {
  const payload = encode(
    {
      attributes: [
        [SESSION, long],
        [COST, '[]'],
      ],
      start: 2n ** 63n,
    },
    {},
    { attributes: [[SESSION, long]] },
  );
  expect([...(repairForMlflow(payload)?.spans ?? [])]).toEqual([
    [
      0,
      'session.id: cut from 300 to 250 characters; mlflow.llm.cost: left out, as it is not an object; start time: 9223372036854775808 ns replaced by the end time, as MLflow stores less than 2^63',
    ],
    [2, 'session.id: cut from 300 to 250 characters'],
  ]);
});
