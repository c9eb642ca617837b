import { expect, test } from 'vitest';
import type { Batch } from '../../src/delivery/batch.ts';
import { newConsignment, RetryLine } from '../../src/delivery/retry-line.ts';
import type { Consignment } from '../../src/delivery/retry-line.ts';
import type { Lease } from '../../src/queue/queue.ts';

const ANY_BATCH: Batch<Lease> = {
  target: { key: '', description: '' },
  parts: [],
  traces: new Map(),
  spanCount: 0,
};

/** A line whose pauses are the longest of their kind: half a second after a first failure. */
function lineOf() {
  const line = new RetryLine(() => 1);
  const fail = (consignment: Consignment, now: number, answers: number, after = 0) =>
    line.push([consignment], { now, condition: 'retrying', after, answers });
  return { line, fail };
}

test('each goes again after a pause, the first first', () => {
  const { line, fail } = lineOf();
  const [a, b] = [newConsignment(ANY_BATCH), newConsignment(ANY_BATCH)];
  expect(line.nextDueAt()).toBeUndefined();
  fail(a, 0, 0);
  fail(b, 100, 0);
  expect(line.nextDueAt()).toBe(500);
  expect(line.takeDue(499)).toBeUndefined();
  expect(line.takeDue(600)).toBe(a);
  expect(line.takeDue(600)).toBe(b);
  expect(line.isEmpty).toBe(true);
});

test('in an outage its own pause does not grow; while others succeed it does', () => {
  const { line, fail } = lineOf();
  const batch = newConsignment(ANY_BATCH);
  const pauses = [10, 10, 10, 11, 12, 12, 20].map((answers) => {
    fail(batch, 0, answers);
    const pause = line.nextDueAt();
    line.takeDue(Infinity);
    return pause;
  });
  expect(pauses).toEqual([500, 500, 500, 1000, 2000, 2000, 4000]);
});

test('one that has to wait longer does not hold up those behind it', () => {
  const { line, fail } = lineOf();
  const [a, b] = [newConsignment(ANY_BATCH), newConsignment(ANY_BATCH)];
  fail(a, 0, 0, 9000);
  fail(b, 0, 0);
  expect(line.takeDue(500)).toBe(b);
  expect(line.nextDueAt()).toBe(9000);
});
