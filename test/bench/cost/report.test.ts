import { expect, test } from 'vitest';
import { report } from './report.ts';
import type { Figures, Measurement } from './report.ts';
import { figure, table } from '../table.ts';

test('columns are as wide as their widest cell, numbers to the right', () => {
  expect(
    table(
      ['what', 'µs'],
      [
        ['a longer name', '1.25'],
        ['b', '12,300'],
      ],
    ),
  ).toBe(
    ['what               µs', '-------------  ------', 'a longer name    1.25', 'b              12,300'].join(
      '\n',
    ),
  );
});

test.each([
  [44_123, '44,100'],
  [0.34567, '0.346'],
  [21.44, '21.4'],
  [Number.NaN, '-'],
])('%d is shown as %s', (value, shown) => {
  expect(figure(value)).toBe(shown);
});

const figures = (cpu: number): Figures => ({
  cpu,
  rate: 1e6 / cpu,
  anonymousMemory: 2 ** 26,
  totalMemory: 2 ** 27,
  p50: 1,
  p99: 2,
});

test('medians are compared with the durable Collector at the same size, and with the mark', () => {
  const measurements: Measurement[] = [
    ...[4, 90, 5].map((cpu) => ({ kind: 'relay' as const, spansPerRequest: 10, figures: figures(cpu) })),
    { kind: 'collector-durable', spansPerRequest: 10, figures: figures(20) },
    { kind: 'relay', spansPerRequest: 100, figures: figures(9) },
    { kind: 'collector-durable', spansPerRequest: 100, figures: figures(10) },
  ];
  const lines = report(measurements).split('\n');
  expect(lines.find((line) => line.startsWith('10, relay'))?.split(/ {2,}/)).toEqual([
    '10, relay',
    '5',
    '200,000',
    '64',
    '128',
    '1',
    '2',
    '0.25',
    '4',
  ]);
  expect(lines.slice(-2)).toEqual([
    "10 spans a request: the relay takes 0.25 of the durable Collector's CPU a span; mark 0.5, met",
    "100 spans a request: the relay takes 0.9 of the durable Collector's CPU a span; mark 0.5, NOT met",
  ]);
});

test('without the Collector there is nothing to compare with', () => {
  expect(report([{ kind: 'relay', spansPerRequest: 10, figures: figures(4) }])).not.toContain('mark');
});
