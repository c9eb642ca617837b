import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DROP_SPACING_MS,
  UNKNOWN_LIFETIME_MS,
  discoveryDelay,
  lifetimeOf,
  nextFetchAfterDrop,
  retryDelay,
  timesOf,
} from '../../src/auth/schedule.ts';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('lifetimeOf', () => {
  it.each([
    [300, 300_000],
    [5, 5_000],
    [0.5, 500],
    [0, 0],
    [-1, 0],
    [Number.NEGATIVE_INFINITY, 0],
    [1e12, 86_400_000],
    [Number.POSITIVE_INFINITY, 86_400_000],
    [Number.NaN, UNKNOWN_LIFETIME_MS],
    [undefined, UNKNOWN_LIFETIME_MS],
    [null, UNKNOWN_LIFETIME_MS],
    ['300', UNKNOWN_LIFETIME_MS],
  ])('%s s', (expiresIn, expected) => {
    expect(lifetimeOf(expiresIn)).toBe(expected);
  });
});

describe('timesOf', () => {
  it.each([
    // lifetime, random, refresh, usable until
    [5_000, 0, 3_750, 4_750],
    [5_000, 0.999, 3_999.75, 4_750],
    [300_000, 0, 225_000, 295_000],
    [300_000, 0.5, 232_500, 295_000],
  ])('%s ms, random %s', (lifetime, jitter, refreshAt, usableUntil) => {
    const times = timesOf(1_000, lifetime, jitter);
    expect(times.refreshAt).toBeCloseTo(1_000 + refreshAt, 5);
    expect(times.usableUntil).toBeCloseTo(1_000 + usableUntil, 5);
    expect(times.endsAt).toBe(1_000 + lifetime);
  });

  it('refreshes after three quarters and a while before it stops handing out', () => {
    const now = fc.integer({ min: 0, max: 1e12 });
    const lifetime = fc.integer({ min: 1_000, max: 86_400_000 });
    fc.assert(
      fc.property(now, lifetime, random, (answeredAt, life, jitter) => {
        const times = timesOf(answeredAt, life, jitter);
        expect(times.refreshAt - answeredAt).toBeGreaterThanOrEqual(life * 0.75 - 1);
        expect(times.usableUntil - times.refreshAt).toBeGreaterThanOrEqual(life * 0.15 - 1);
        expect(times.usableUntil).toBeLessThan(times.endsAt);
        expect(times.endsAt - times.usableUntil).toBeLessThanOrEqual(5_000);
      }),
    );
  });
});

describe('retryDelay', () => {
  it.each([
    [1, 250, 500],
    [2, 500, 1_000],
    [3, 1_000, 2_000],
    [6, 7_500, 15_000],
    [1_000_000, 7_500, 15_000],
  ])('after %s failures', (failures, shortest, longest) => {
    expect(retryDelay(failures, 0)).toBe(shortest);
    expect(retryDelay(failures, 0.999999)).toBeCloseTo(longest, -1);
  });

  it('is never below a quarter of a second, nor above 15', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 31 }), random, (failures, jitter) => {
        const delay = retryDelay(failures, jitter);
        expect(delay).toBeGreaterThanOrEqual(250);
        expect(delay).toBeLessThanOrEqual(15_000);
      }),
    );
  });
});

it('asks for metadata that is not to be had about twice a second', () => {
  expect([0, 1].map(discoveryDelay)).toEqual([400, 500]);
});

describe('nextFetchAfterDrop', () => {
  it('is at once the first time, and when the last one is long ago', () => {
    expect(nextFetchAfterDrop(10, undefined)).toBe(10);
    expect(nextFetchAfterDrop(5_000, 10)).toBe(5_000);
  });

  it('grants one fetch a second, however often tokens are refused', () => {
    const pauses = fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 50 });
    fc.assert(
      fc.property(pauses, (between) => {
        const granted: number[] = [];
        let now = 0;
        for (const pause of between) {
          granted.push(nextFetchAfterDrop(now, granted.at(-1)));
          now = (granted.at(-1) ?? 0) + pause;
        }
        for (let i = 1; i < granted.length; i++) {
          expect((granted[i] ?? 0) - (granted[i - 1] ?? 0)).toBeGreaterThanOrEqual(DROP_SPACING_MS);
        }
      }),
    );
  });
});
