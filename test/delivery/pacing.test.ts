import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backoff, pauseAfter } from '../../src/delivery/pacing.ts';
import type { Pacing, Ticket } from '../../src/delivery/pacing.ts';
import { beginAll, LAST, middle, pacingOf } from './pacing-support.ts';

describe('backoff', () => {
  test('doubles up to its cap, with half of it left to chance', () => {
    const failures = [1, 2, 3, 6, 7, 5000];
    const pauses = (chance: number) => failures.map((count) => backoff(count, 'retrying', () => chance));
    expect(pauses(0)).toEqual([250, 500, 1000, 8000, 15_000, 15_000]);
    expect(pauses(1)).toEqual([500, 1000, 2000, 16_000, 30_000, 30_000]);
  });

  test('is slower where a person has to act', () => {
    expect([1, 2, 5000].map((failures) => backoff(failures, 'blocked', () => 1))).toEqual([
      2000, 4000, 60_000,
    ]);
  });

  test('is at least what the upstream asked for, unless that is out of reason', () => {
    expect(pauseAfter(1, 'retrying', 7000, middle)).toBe(7000);
    expect(pauseAfter(5, 'retrying', 7, middle)).toBe(backoff(5, 'retrying', middle));
    expect(pauseAfter(1, 'retrying', 1e15, middle)).toBe(3_600_000);
  });
});

/** A pacing whose limit has risen to the bound, as more at once were ever faster; all was answered. */
function risenTo(maxInFlight: number, canProbe = false): { pacing: Pacing; now: number } {
  const pacing = pacingOf(maxInFlight, canProbe);
  let now = 0;
  // At the bound, until that was found to be better than one less.
  for (let atBound = 0; atBound < 8; atBound += pacing.limit === maxInFlight ? 1 : 0) {
    now += 1000;
    const tickets = beginAll(pacing, now);
    for (const ticket of tickets) pacing.answered(ticket, { now, spans: 100, moreWaits: true });
  }
  return { pacing, now };
}

describe('how many at once', () => {
  test('two at first, and no more than are known to be of use', () => {
    const pacing = pacingOf(8);
    for (let request = 0; request < 100; request++) pacing.answered(pacing.begin(0), LAST);
    expect(beginAll(pacing, 0)).toHaveLength(2);
  });

  test('more where more at once are faster, up to the bound', () => {
    const { pacing, now } = risenTo(8);
    expect(beginAll(pacing, now)).toHaveLength(8);
  });

  test('one where one is the bound', () => {
    const pacing = pacingOf(1);
    expect(beginAll(pacing, 0)).toHaveLength(1);
  });
});

describe('after a failure', () => {
  test('with a Retry-After, another failure without one does not end the wait', () => {
    const pacing = pacingOf(2, true);
    const [first, second] = beginAll(pacing, 0);
    pacing.failed(first!, 'retrying', 0, 0);
    const trial = pacing.begin(1000);
    pacing.failed(second!, 'retrying', 1000, 100_000);
    pacing.failed(trial, 'blocked', 1000, 0);
    expect(pacing.probesAt()).toBeGreaterThanOrEqual(101_000);
  });

  test('nothing goes for a pause, then one trial, then one more with each answer, up to half as many as before', () => {
    const { pacing, now } = risenTo(8);
    const [failing, ...others] = beginAll(pacing, now) as [Ticket, ...Ticket[]];
    for (const ticket of others) pacing.answered(ticket, LAST);

    pacing.failed(failing, 'retrying', now, 0);
    expect(pacing.condition).toBe('retrying');
    expect(pacing.resumesAt()).toBe(now + 375);
    expect(pacing.slots(now + 374)).toBe(0);
    const trials = beginAll(pacing, now + 375);
    expect(trials).toHaveLength(1);
    expect(pacing.resumesAt()).toBeUndefined();
    pacing.answered(trials[0] as Ticket, LAST);
    expect(pacing.condition).toBe('up');

    const underWay: Ticket[] = [];
    const counts = Array.from({ length: 8 }, () => {
      underWay.push(...beginAll(pacing, now + 375));
      const count = underWay.length;
      pacing.answered(underWay.shift() as Ticket, LAST);
      return count;
    });
    expect(counts).toEqual([2, 3, 4, 4, 4, 4, 4, 4]);
  });

  test('the limit comes back to where it began even where little waits', () => {
    const pacing = pacingOf(8);
    pacing.failed(pacing.begin(0), 'retrying', 0, 0);
    expect(pacing.slots(10_000)).toBe(1);
    pacing.answered(pacing.begin(10_000), LAST);
    expect(pacing.slots(10_000)).toBe(2);
  });

  test('an outage halves the limit once, however long; what a person has to mend does not', () => {
    for (const [condition, limit] of [
      ['retrying', 4],
      ['blocked', 8],
    ] as const) {
      const { pacing, now } = risenTo(8);
      for (let later = now; later < now + 1e6; later += 1e5)
        pacing.failed(pacing.begin(later), condition, later, 0);
      pacing.answered(pacing.begin(now + 1e6), LAST);
      expect(pacing.limit).toBe(limit);
    }
  });

  test('requests that fail together count once; the longest pause that was asked for holds', () => {
    const pacing = pacingOf(8);
    const [a, b] = beginAll(pacing, 0) as [Ticket, Ticket];
    pacing.failed(a, 'retrying', 0, 0);
    expect(pacing.resumesAt()).toBe(375);
    pacing.failed(b, 'blocked', 0, 5000);
    expect(pacing.condition).toBe('retrying');
    expect(pacing.resumesAt()).toBe(5000);
    pacing.failed(pacing.begin(5000), 'retrying', 5000, 0);
    expect(pacing.resumesAt()).toBe(5750);
  });

  test('what was under way before neither ends the pause nor brings it back', () => {
    const { pacing, now } = risenTo(3);
    const [a, b, c] = beginAll(pacing, now) as [Ticket, Ticket, Ticket];
    pacing.failed(a, 'retrying', now, 0);
    pacing.answered(b, LAST);
    expect(pacing.condition).toBe('retrying');
    pacing.answered(pacing.begin(now + 10_000), LAST);
    expect(pacing.condition).toBe('up');
    pacing.failed(c, 'retrying', now + 400, 0);
    expect(pacing.condition).toBe('up');
  });
});

test('whatever comes, no more than the bound are in flight, what is asked for is given, and it always goes on', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('begin' as const), later: fc.nat(1000) }),
    fc.record({
      kind: fc.constant('probe' as const),
      outcome: fc.constantFrom('answered' as const, 'retrying' as const, 'blocked' as const),
      after: fc.constantFrom(0, 0, 100_000),
    }),
    fc.record({
      kind: fc.constantFrom('answered' as const, 'retrying' as const, 'blocked' as const),
      which: fc.nat(20),
      after: fc.constantFrom(0, 0, 100_000),
      moreWaits: fc.boolean(),
    }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(step), (maxInFlight, steps) => {
      const pacing = pacingOf(maxInFlight, true);
      const inFlight: Ticket[] = [];
      let isProbing = false;
      let now = 0;
      let askedUntil = 0;
      const noteAsked = (after: number) => {
        if (pacing.condition !== 'up' && after > 0) askedUntil = Math.max(askedUntil, now + after);
      };
      for (const next of steps) {
        if (next.kind === 'begin') {
          now += next.later;
          if (pacing.slots(now) > 0) inFlight.push(pacing.begin(now));
        } else if (next.kind === 'probe') {
          if (isProbing) {
            isProbing = false;
            const wasDown = pacing.condition !== 'up';
            if (next.outcome === 'answered') pacing.probeAnswered(now);
            else pacing.probeFailed(next.outcome, now, next.after);
            if (next.outcome !== 'answered' && wasDown) noteAsked(next.after);
          } else if (now >= (pacing.probesAt() ?? Infinity)) {
            isProbing = true;
            pacing.beginProbe(now);
          }
        } else {
          const [ticket] = inFlight.splice(next.which % Math.max(1, inFlight.length), 1);
          if (ticket === undefined) continue;
          if (next.kind === 'answered') {
            pacing.answered(ticket, { now, spans: 100, moreWaits: next.moreWaits });
            if (pacing.condition === 'up') askedUntil = 0;
          } else {
            pacing.failed(ticket, next.kind, now, next.after);
            noteAsked(next.after);
          }
        }
        expect(inFlight.length).toBeLessThanOrEqual(maxInFlight);
        const isLeftAlone = pacing.slots(now) === 0 && (pacing.probesAt() ?? Infinity) >= askedUntil;
        expect(isLeftAlone || pacing.condition === 'up' || now >= askedUntil).toBe(true);
      }
      if (isProbing) pacing.probeAnswered(now);
      for (const ticket of inFlight) pacing.answered(ticket, LAST);
      if (pacing.condition === 'blocked') {
        pacing.beginProbe(now + 3_600_000);
        pacing.probeAnswered(now + 3_600_000);
      }
      expect(pacing.slots(now + 3_600_000)).toBeGreaterThanOrEqual(1);
    }),
    { numRuns: 1000 },
  );
});

describe('a request beside the others', () => {
  test('is one at a time, keeps none of them from going, and is within the bound', () => {
    const pacing = pacingOf(3);
    const others = beginAll(pacing, 0);
    expect(others).toHaveLength(2);
    expect(pacing.hasSlotBeside).toBe(true);
    const beside = pacing.begin(0, true);
    expect(pacing.hasSlotBeside).toBe(false);
    expect(pacing.slots(0)).toBe(0);
    pacing.answered(others[0]!, LAST);
    expect(pacing.slots(0)).toBe(1);
    pacing.answered(beside, LAST);
    expect(pacing.hasSlotBeside).toBe(true);
  });

  test('has the turn of another where one is the bound', () => {
    const pacing = pacingOf(1);
    const beside = pacing.begin(0, true);
    expect(pacing.slots(0)).toBe(0);
    pacing.answered(beside, LAST);
    pacing.begin(0);
    expect(pacing.hasSlotBeside).toBe(false);
  });

  test('tells of an upstream that is down, and does not go while it is', () => {
    const pacing = pacingOf(8);
    pacing.failed(pacing.begin(0, true), 'retrying', 0, 0);
    expect(pacing.condition).toBe('retrying');
    expect(pacing.hasSlotBeside).toBe(false);
  });
});
