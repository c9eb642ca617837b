import { expect, test } from 'vitest';
import { RecentRoots } from '../../src/delivery/recent-roots.ts';
import { traceIdOf } from './support.ts';

test('a root is known for its time, for its target', () => {
  const roots = new RecentRoots(100);
  roots.add('a', traceIdOf(1), 1000);
  expect([1000, 1100, 1101].map((now) => roots.has('a', traceIdOf(1), now))).toEqual([true, true, false]);
  expect(roots.has('b', traceIdOf(1), 1000)).toBe(false);
  expect(roots.has('a', traceIdOf(2), 1000)).toBe(false);
});

test('one that comes again is known from then on', () => {
  const roots = new RecentRoots(100);
  roots.add('a', traceIdOf(1), 1000);
  roots.add('a', traceIdOf(2), 1010);
  roots.add('a', traceIdOf(1), 1090);
  roots.add('a', traceIdOf(3), 1150);
  expect([1, 2, 3].map((trace) => roots.has('a', traceIdOf(trace), 1150))).toEqual([true, false, true]);
});

test('of more than a hundred thousand the first are forgotten', () => {
  const roots = new RecentRoots(Number.POSITIVE_INFINITY);
  for (let trace = 1; trace <= 100_001; trace++) roots.add('a', traceIdOf(trace), 0);
  expect([1, 2, 100_001].map((trace) => roots.has('a', traceIdOf(trace), 0))).toEqual([false, true, true]);
});
