import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { repairForMlflow } from '../../src/destinations/mlflow-repair.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { CONVERSATION, COST, encode, LATEST, long, quoted, SESSION, USAGE } from './spans.ts';
import type { Attributes } from './spans.ts';

/** What MLflow takes. */
const good: Attributes = [
  [SESSION, 'x'.repeat(250)],
  [SESSION, '😀'.repeat(250)],
  // It takes the quotation marks away.
  [SESSION, quoted('x'.repeat(250))],
  [SESSION, ''],
  [SESSION, 5],
  [SESSION, ['a', { b: [null] }]],
  [CONVERSATION, 'x'.repeat(250)],
  ['user.id', 'u'.repeat(8000)],
  ['mlflow.spanType', 'T'.repeat(500)],
  ['mlflow.spanType', '["LLM"]'],
  ['mlflow.spanType', 5],
  ['mlflow.traceTag.mlflow.traceName', 'n'.repeat(4096)],
  ['mlflow.traceTag.other', 'v'.repeat(20_000)],
  [COST, '{"total_cost":1.5,"input_cost":true}'],
  [COST, '{"total_cost":NaN,"input_cost":-Infinity,"other":0.5}'],
  [COST, '{}'],
  [COST, { total_cost: 1.5 }],
  [USAGE, '{"input_tokens":5,"other":null}'],
  [USAGE, '[1]'],
  [USAGE, [1]],
  [USAGE, 'abc'],
  ['openinference.span.kind', 'LLM'],
  ['openinference.span.kind', 5],
  ['gen_ai.operation.name', 'chat'],
  ['foo', [long]],
];

it.each(good)('leaves alone what MLflow takes: %s, %.30o', (key, value) => {
  expect(repairForMlflow(encode({ attributes: [[key, value]] }))).toBeUndefined();
});

const attributes = (from: Attributes) => fc.array(fc.constantFrom(...from), { maxLength: 6 });

describe('properties', () => {
  const offenders: Attributes = [
    [SESSION, long],
    [SESSION, [long]],
    [CONVERSATION, `${long}😀`],
    [COST, [1, 2]],
    [COST, '{"total_cost":"x"}'],
    [USAGE, { input_tokens: null }],
    ['mlflow.spanType', []],
    ['user.id', 'u'.repeat(9000)],
  ];
  const time = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

  it('nothing to mend: undefined', () => {
    const span = fc.record({ attributes: attributes(good), start: fc.bigInt({ min: 0n, max: LATEST }) });
    fc.assert(
      fc.property(fc.array(span, { maxLength: 4 }), (spans) => {
        expect(repairForMlflow(encode(...spans))).toBeUndefined();
      }),
    );
  });

  it('what was mended needs no more of it, and what was not is as it was', () => {
    const span = fc.record({ attributes: attributes([...good, ...offenders]), start: time, end: time });
    fc.assert(
      fc.property(fc.array(span, { maxLength: 4 }), (spans) => {
        const repaired = repairForMlflow(encode(...spans));
        if (repaired === undefined) return;
        expect(scanTraces(repaired.payload)).toEqual({
          ok: true,
          spanCount: spans.length,
          invalidSpanCount: 0,
        });
        expect(repairForMlflow(repaired.payload)).toBeUndefined();
        for (const [index, before] of spans.entries()) {
          const mark = repaired.spans.get(index);
          const single = repairForMlflow(encode(before));
          expect(single?.spans.get(0)).toBe(mark);
        }
        const untouched = spans.map((before, index) => (repaired.spans.has(index) ? {} : before));
        expect(repairForMlflow(encode(...untouched))).toBeUndefined();
      }),
    );
  });
});
