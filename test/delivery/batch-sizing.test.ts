import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BatchSizing } from '../../src/delivery/batch-sizing.ts';
import { randomOf } from './upstream-model.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** With a timeout of 10 s. */
const TARGET_MS = 2500;
const TIMEOUT_MS = 10_000;

function sizingOf(maxSpans = 1000, maxBytes = 4 * MIB): BatchSizing {
  return new BatchSizing({ maxSpans, maxBytes, targetMs: TARGET_MS });
}

function spansOf(sizing: BatchSizing): number {
  return sizing.limits.maxBatchSpans;
}

function bytesOf(sizing: BatchSizing): number {
  return sizing.limits.maxBatchSize;
}

test('begins at the bounds, and stays there while answers come in time', () => {
  const sizing = sizingOf();
  for (let answer = 0; answer < 100; answer++) sizing.answered({ spans: 1000, bytes: MIB, ms: 2400 });
  expect(sizing.limits).toEqual({ maxBatchSpans: 1000, maxBatchSize: 4 * MIB });
});

describe('lowers', () => {
  test.each<[string, (sizing: BatchSizing) => void, number, number]>([
    ['in proportion', (s) => s.answered({ spans: 1000, bytes: 2 * MIB, ms: 3125 }), 800, 2 * MIB],
    ['by half at most', (s) => s.answered({ spans: 1000, bytes: MIB, ms: 9000 }), 500, 2 * MIB],
    ['not after a small one', (s) => s.answered({ spans: 10, bytes: KIB, ms: 9000 }), 1000, 4 * MIB],
    ['by half where nothing was answered', (s) => s.tooSlow({ spans: 1000, bytes: 4 * MIB }), 500, 2 * MIB],
    ['bytes to half of what was too large', (s) => s.tooLarge({ bytes: MIB }), 1000, MIB / 2],
  ])('%s', (_, event, spans, bytes) => {
    const sizing = sizingOf();
    event(sizing);
    expect(sizing.limits).toEqual({ maxBatchSpans: spans, maxBatchSize: bytes });
  });

  test('once for requests that were under way together', () => {
    const sizing = sizingOf();
    for (let request = 0; request < 4; request++) sizing.tooSlow({ spans: 1000, bytes: 4 * MIB });
    expect(spansOf(sizing)).toBe(500);
    for (let request = 0; request < 4; request++) sizing.answered({ spans: 500, bytes: 2 * MIB, ms: 3125 });
    expect(spansOf(sizing)).toBe(400);
  });

  test('and not for ever by small ones that are late whatever their size', () => {
    const sizing = sizingOf();
    for (let answer = 0; answer < 20; answer++) {
      sizing.answered({ spans: 1, bytes: KIB, ms: 6000 });
      const { maxBatchSpans, maxBatchSize } = sizing.limits;
      sizing.answered({ spans: maxBatchSpans, bytes: maxBatchSize, ms: 6000 });
    }
    expect(spansOf(sizing)).toBe(1000);
  });

  test('to one span, and no further', () => {
    const sizing = sizingOf();
    for (let request = 0; request < 100; request++) sizing.tooSlow({ spans: 1, bytes: 10 });
    expect(spansOf(sizing)).toBe(1);
    expect(bytesOf(sizing)).toBeGreaterThan(0);
  });
});

/** To 62 spans, by requests of 100 that were not answered. */
function lowered(): BatchSizing {
  const sizing = sizingOf();
  for (let request = 0; request < 4; request++) sizing.tooSlow({ spans: 100, bytes: 100 * KIB });
  expect(spansOf(sizing)).toBe(62);
  return sizing;
}

describe('raises', () => {
  test('by half after an answer well below the target', () => {
    const sizing = lowered();
    sizing.answered({ spans: 62, bytes: 10 * KIB, ms: 1000 });
    expect(spansOf(sizing)).toBe(93);
    sizing.answered({ spans: 93, bytes: 15 * KIB, ms: 1500 });
    expect(spansOf(sizing)).toBe(93);
  });

  test('not after small requests, which tell nothing of large ones', () => {
    const sizing = lowered();
    for (let answer = 0; answer < 100; answer++) sizing.answered({ spans: 30, bytes: 10 * KIB, ms: 10 });
    expect(spansOf(sizing)).toBe(62);
  });

  test('bytes but slowly after a request was too large', () => {
    const sizing = sizingOf();
    sizing.tooLarge({ bytes: MIB });
    let answers = 0;
    for (; bytesOf(sizing) < MIB; answers++) sizing.answered({ spans: 10, bytes: bytesOf(sizing), ms: 10 });
    expect(answers).toBeGreaterThan(50);
    expect(answers).toBeLessThan(100);
  });
});

test('late answers whatever the size do not make requests ever smaller', () => {
  const sizing = sizingOf();
  const sizes = Array.from({ length: 100 }, () => {
    const spans = spansOf(sizing);
    sizing.answered({ spans, bytes: 100 * KIB, ms: 6000 });
    return spans;
  });
  expect(sizes.slice(0, 3)).toEqual([1000, 500, 1000]);
  expect(sizes.slice(3).every((spans) => spans === 1000)).toBe(true);
  sizing.tooSlow({ spans: 1000, bytes: 100 * KIB });
  expect(spansOf(sizing)).toBe(500);
});

/** Sends until so many spans are stored; returns the sizes of all requests that passed, and how many did not. */
function deliver(
  sizing: BatchSizing,
  spans: number,
  msOf: (spans: number) => number,
): { passed: number[]; timeouts: number } {
  const passed: number[] = [];
  let timeouts = 0;
  for (let stored = 0; stored < spans;) {
    const size = { spans: spansOf(sizing), bytes: spansOf(sizing) * 500 };
    const ms = msOf(size.spans);
    if (ms > TIMEOUT_MS) {
      sizing.tooSlow(size);
      timeouts++;
    } else {
      sizing.answered({ ...size, ms });
      passed.push(size.spans);
      stored += size.spans;
    }
    if (passed.length + timeouts > 100_000) throw new Error('spans starve');
  }
  return { passed, timeouts };
}

test('an upstream that needs 40 ms a span is given what passes in time, and all again once it is fast', () => {
  const random = randomOf(1);
  const sizing = sizingOf();
  const slow = deliver(sizing, 50_000, (spans) => (100 + 40 * spans) * (0.8 + 0.4 * random()));
  expect(slow.timeouts).toBeLessThan(4);
  const settled = slow.passed.slice(20);
  expect(Math.max(...settled)).toBeLessThan(80);
  expect(Math.min(...settled)).toBeGreaterThan(25);

  const fast = deliver(sizing, 50_000, (spans) => 50 + 0.5 * spans);
  expect(fast.timeouts).toBe(0);
  expect(fast.passed.findIndex((spans) => spans === 1000)).toBeLessThan(12);
});

test('an upstream that takes 3 s for a span gets one at a time', () => {
  const { passed, timeouts } = deliver(sizingOf(), 200, (spans) => 3000 * spans);
  expect(timeouts).toBeLessThan(10);
  expect(passed.slice(10).every((spans) => spans === 1)).toBe(true);
});

test('whatever the upstream needs, within the timeout for one span, nothing starves and little fails', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 7000 }),
      fc.integer({ min: 0, max: 1000 }),
      fc.integer(),
      (baseMs, msEach, seed) => {
        const random = randomOf(seed);
        const msOf = (spans: number) => (baseMs + msEach * spans) * (0.8 + 0.4 * random());
        const { passed, timeouts } = deliver(sizingOf(), 5000, msOf);
        expect(timeouts).toBeLessThan(15 + passed.length / 10);
      },
    ),
  );
});

test('whatever comes, the limits are within their bounds', () => {
  const size = { spans: fc.integer({ min: 1, max: 2000 }), bytes: fc.integer({ min: 1, max: 64 * MIB }) };
  const event = fc.oneof(
    fc.record({ kind: fc.constant('answered' as const), ...size, ms: fc.nat(60_000) }),
    fc.record({ kind: fc.constantFrom('tooSlow' as const, 'tooLarge' as const), ...size }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1000 }), fc.array(event), (maxSpans, events) => {
      const sizing = sizingOf(maxSpans, 64 * KIB);
      for (const next of events) {
        if (next.kind === 'answered') sizing.answered(next);
        else if (next.kind === 'tooSlow') sizing.tooSlow(next);
        else sizing.tooLarge(next);
        const { maxBatchSpans, maxBatchSize } = sizing.limits;
        expect(maxBatchSpans).toBeGreaterThanOrEqual(1);
        expect(maxBatchSpans).toBeLessThanOrEqual(maxSpans);
        expect(maxBatchSize).toBeGreaterThanOrEqual(1);
        expect(maxBatchSize).toBeLessThanOrEqual(64 * KIB);
      }
    }),
  );
});

/** Requests as large as may be, of 100 bytes a span; the upstream takes so many spans. @returns their sizes */
function run(sizing: BatchSizing, most: number, requests: number): number[] {
  return Array.from({ length: requests }, () => {
    const spans = spansOf(sizing);
    const size = { spans, bytes: spans * 100 };
    if (spans > most) sizing.tooMuch(size);
    else sizing.answered({ ...size, ms: 100 });
    return spans;
  });
}

describe('a size that fails', () => {
  test('is tried again ever more seldom, and what is below it is used', () => {
    const sizing = sizingOf();
    run(sizing, 300, 100);
    const sizes = run(sizing, 300, 1000);
    const failures = sizes.filter((spans) => spans > 300);
    expect(failures.length).toBeLessThan(20);
    expect(sizes.filter((spans) => spans >= 200).length).toBeGreaterThan(900);
  });

  test('is used again once it is taken', () => {
    const sizing = sizingOf();
    run(sizing, 300, 100);
    run(sizing, 1000, 5000);
    expect(spansOf(sizing)).toBe(1000);
  });

  test.each([
    ['where nothing was taken, none is unproven', 0, 1000, false],
    ['what is larger than all that was taken is', 10, 11, true],
    ['and what is not, is not', 10, 10, false],
  ])('%s', (_, taken, spans, isUnproven) => {
    const sizing = sizingOf();
    if (taken > 0) sizing.answered({ spans: taken, bytes: KIB, ms: 10 });
    expect(sizing.isUnproven({ spans })).toBe(isUnproven);
    // Of late only.
    for (let answer = 0; answer < 200; answer++) sizing.answered({ spans: 1, bytes: KIB, ms: 10 });
    expect(sizing.isUnproven({ spans: 2 })).toBe(true);
  });
});
