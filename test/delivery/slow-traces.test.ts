import { describe, expect, test } from 'vitest';
import type { Batch } from '../../src/delivery/batch.ts';
import { newConsignment } from '../../src/delivery/retry-line.ts';
import { failingTraces, LongTraces } from '../../src/delivery/slow-traces.ts';
import type { Lease } from '../../src/queue/queue.ts';
import { batchOf } from './batches.ts';
import { traceIdOf } from './support.ts';

const partOfOne = batchOf([3]) as unknown as Batch<Lease>;
const ofTwo = batchOf([1, 1]) as unknown as Batch<Lease>;

describe('a trace that goes part by part', () => {
  test('is known from its first part to its last, and slow by the last one that went', () => {
    const long = new LongTraces();
    expect(long.went(partOfOne, 0, 5_000)).toBe(false);
    expect(long.went(ofTwo, 100, 5_000)).toBe(false);
    expect(long.isSlow(partOfOne)).toBe(false);
    expect(long.went(partOfOne, 100, 5_000)).toBe(true);
    expect(long.isSlow(partOfOne)).toBe(true);
    expect(long.isSlow(ofTwo)).toBe(false);
    expect(long.went(partOfOne, 50, 500)).toBe(true);
    expect(long.isSlow(partOfOne)).toBe(false);
    expect(long.went(partOfOne, 0, 5_000)).toBe(true);
    expect(long.went(partOfOne, 0, 5_000)).toBe(false);
  });

  test('is told of once its requests have taken long together', () => {
    const long = new LongTraces();
    for (let part = 0; part < 5; part++) long.went(partOfOne, 500 - part, 5_999);
    expect(long.told).toEqual([]);
    long.went(partOfOne, 400, 5_999);
    expect(long.told).toEqual([
      {
        traceId: traceIdOf(0),
        sender: 'agent',
        waitingSpans: 400,
        since: expect.any(Number),
        reason: expect.stringMatching(
          /its 6 requests so far have taken 36 s.*have its sender make smaller traces/,
        ),
      },
    ]);
    long.went(partOfOne, 0, 5_999);
    expect(long.told).toEqual([]);
  });
});

test('of what fails the longest comes first, ten at most, each with why and since when', () => {
  const failing = Array.from({ length: 12 }, (_, index) => {
    const own = { since: 1_000 - index, times: 4, evidence: 7, begun: 9 };
    return Object.assign(newConsignment(partOfOne, { own }), { reason: `it answers 503 (${index})` });
  });
  const told = failingTraces(failing, 2_000);
  expect(told).toHaveLength(10);
  expect(told[0]).toMatchObject({
    traceId: traceIdOf(0),
    sender: 'agent',
    waitingSpans: 3,
    reason: expect.stringMatching(
      /^it answers 503 \(11\); it has failed 4 times, while other traces were stored/,
    ),
  });
  expect(told[1]!.since - told[0]!.since).toBe(1);
});
