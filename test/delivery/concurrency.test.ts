import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Concurrency } from '../../src/delivery/concurrency.ts';
import { lockModel, randomOf, shareOfTime, simulate, workersModel } from './upstream-model.ts';
import type { UpstreamModel, Use } from './upstream-model.ts';

/*
 * Against models of upstreams whose times vary by a fifth up and down, with requests of 500 to 1,000 spans. Seeds are
 * fixed: each of these runs is the same each time.
 */

const MINUTE = 60_000;
const SEEDS = Array.from({ length: 20 }, (_, index) => 7919 * index + 1);

/** The least of the shares that the seeds give. */
function leastShare(run: (random: () => number) => number): number {
  return Math.min(...SEEDS.map((seed) => run(randomOf(seed))));
}

describe('where more waits than goes, the limit settles', () => {
  test.each([1, 2, 3, 4, 5, 6])('at about the number of workers: %d', (workers) => {
    const share = leastShare((random) => {
      const use = simulate(workersModel(workers, random), { maxInFlight: 8, forMs: 15 * MINUTE, random });
      return shareOfTime(use, [5 * MINUTE, 15 * MINUTE], (limit) => limit >= workers && limit <= workers + 1);
    });
    expect(share).toBeGreaterThan(0.8);
  });

  test('near the bound where the upstream could take more', () => {
    const share = leastShare((random) => {
      const use = simulate(workersModel(20, random), { maxInFlight: 8, forMs: 15 * MINUTE, random });
      return shareOfTime(use, [5 * MINUTE, 15 * MINUTE], (limit) => limit >= 7);
    });
    expect(share).toBeGreaterThan(0.8);
  });

  test.each([
    ['nobody gives up', 0],
    ['some give up', 0.05],
    ['many give up', 0.3],
  ])('at one where the upstream has one lock for all, and waiting for it, %s', (_, chance) => {
    const share = leastShare((random) => {
      const use = simulate(lockModel(random, chance), { maxInFlight: 8, forMs: 15 * MINUTE, random });
      return shareOfTime(use, [2 * MINUTE, 15 * MINUTE], (limit) => limit === 1);
    });
    expect(share).toBeGreaterThan(0.8);
  });

  test('anew when the upstream becomes another', () => {
    const runs = SEEDS.map((seed) => {
      const random = randomOf(seed);
      const [one, four] = [lockModel(random), workersModel(4, random)];
      const isFour = (now: number) => now >= 10 * MINUTE && now < 25 * MINUTE;
      const upstream: UpstreamModel = (request) => (isFour(request.now) ? four : one)(request);
      return simulate(upstream, { maxInFlight: 8, forMs: 40 * MINUTE, random });
    });
    const least = (between: readonly [number, number], isWanted: (limit: number) => boolean) =>
      Math.min(...runs.map((use) => shareOfTime(use, between, isWanted)));
    expect(least([2 * MINUTE, 10 * MINUTE], (limit) => limit === 1)).toBeGreaterThan(0.8);
    expect(least([15 * MINUTE, 25 * MINUTE], (limit) => limit === 4 || limit === 5)).toBeGreaterThan(0.8);
    expect(least([30 * MINUTE, 40 * MINUTE], (limit) => limit === 1)).toBeGreaterThan(0.8);
  });
});

describe('an outage', () => {
  const [AWAY, BACK] = [10 * MINUTE, 13 * MINUTE];
  function run(random: () => number): Use {
    const six = workersModel(6, random);
    const upstream: UpstreamModel = (request) =>
      request.now >= AWAY && request.now < BACK ? { at: request.now + 5, isTaken: false } : six(request);
    return simulate(upstream, { maxInFlight: 8, forMs: 25 * MINUTE, random });
  }

  test('ends with one request, then at most twice as many from one moment to the next', () => {
    for (const seed of SEEDS) {
      const moments = run(randomOf(seed)).moments.filter(({ now }) => now >= AWAY);
      const others = moments.filter(({ now }) => now >= AWAY + MINUTE && now < BACK);
      expect(Math.max(...others.map(({ inFlight }) => inFlight))).toBe(1);
      const growths = moments.map(({ inFlight }, index) => {
        const before = moments[index - 1]?.inFlight ?? inFlight;
        return inFlight / Math.max(1, before);
      });
      expect(Math.max(...growths)).toBeLessThanOrEqual(2);
    }
  });

  test('and the limit is found again', () => {
    const share = leastShare((random) =>
      shareOfTime(run(random), [20 * MINUTE, 25 * MINUTE], (limit) => limit >= 6 && limit <= 7),
    );
    expect(share).toBeGreaterThan(0.8);
  });
});

test('where less waits than could go, nothing is learned', () => {
  const concurrency = new Concurrency(8);
  for (let answer = 0; answer < 1000; answer++) {
    // Now and then more waits, but not for long.
    if (answer % 10 < 8) concurrency.answered(answer * 1000, 10);
    else concurrency.idle();
    expect(concurrency.limit).toBe(2);
  }
});

test('whatever comes, the limit is within its bounds', () => {
  const event = fc.oneof(
    { weight: 30, arbitrary: fc.record({ later: fc.nat(2000), spans: fc.nat(1000) }) },
    { weight: 1, arbitrary: fc.constantFrom('failed' as const, 'idle' as const) },
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.array(event, { minLength: 100, maxLength: 1000 }),
      (max, events) => {
        const concurrency = new Concurrency(max);
        let now = 0;
        let isWithin = true;
        for (const next of events) {
          if (next === 'failed') concurrency.failed();
          else if (next === 'idle') concurrency.idle();
          else concurrency.answered((now += next.later), next.spans);
          const { limit } = concurrency;
          isWithin &&= Number.isInteger(limit) && limit >= 1 && limit <= max;
        }
        expect(isWithin).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});

test('a clock that stands still does no harm', () => {
  const concurrency = new Concurrency(8);
  for (let answer = 0; answer < 1000; answer++) concurrency.answered(7, 10);
  expect(concurrency.limit).toBe(2);
});
