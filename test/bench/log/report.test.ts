import { expect, test } from 'vitest';
import type { CostFigures } from './measure.ts';
import { costReport, fullDiskReport } from './report.ts';
import type { CostMeasurement } from './report.ts';

const figures = (cpu: number): CostFigures => ({
  appendCpu: cpu,
  readCpu: cpu / 2,
  removeCpu: cpu / 2,
  rate: 1000 / cpu,
  writes: 1.25,
});

test('medians stand beside those of the log at the same size', () => {
  const measurements: CostMeasurement[] = [
    ...[2, 90, 1].map((cpu) => ({ kind: 'log' as const, spansPerRecord: 10, figures: figures(cpu) })),
    { kind: 'sqlite', spansPerRecord: 10, figures: figures(8) },
    { kind: 'log', spansPerRecord: 100, figures: figures(1) },
  ];
  const rows = costReport(measurements)
    .split('\n')
    .map((line) => line.split(/ {2,}/));
  expect(rows.slice(2)).toEqual([
    ['10, log', '2', '1', '1', '4', '1', '500', '1', '1.25'],
    ['10, sqlite', '8', '4', '4', '16', '4', '125', '0.25', '1.25'],
    ['100, log', '1', '0.5', '0.5', '2', '1', '1,000', '1', '1.25'],
  ]);
});

test('what a full disk does is told in the words of each store', () => {
  const facts = { records: 1234, removesHalf: 'yes', takesAgain: 'yes' };
  const rows = fullDiskReport([
    { kind: 'log', filler: 'its records', facts },
    { kind: 'sqlite', filler: 'its records', facts: { ...facts, removesHalf: 'disk is full' } },
    { kind: 'lmdb', filler: 'another program', facts: 'its process died: SIGBUS' },
  ])
    .split('\n')
    .map((line) => line.split(/ {2,}/));
  expect(rows.slice(2)).toEqual([
    ['log, filled by its records', '1,230', 'yes', 'yes'],
    ['sqlite, filled by its records', '1,230', 'disk is full', 'yes'],
    ['lmdb, filled by another program', '-', 'its process died: SIGBUS', '-'],
  ]);
});
