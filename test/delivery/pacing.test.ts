import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backoff, Pacing, pauseAfter } from '../../src/delivery/pacing.ts';
import type { Ticket } from '../../src/delivery/pacing.ts';

const middle = () => 0.5;

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

/** Begins as many as may begin. */
function beginAll(pacing: Pacing, now: number): Ticket[] {
  const tickets: Ticket[] = [];
  while (pacing.slots(now) > 0) tickets.push(pacing.begin());
  return tickets;
}

describe('how many at once', () => {
  test('two at first, one more a round while more waits, up to the bound', () => {
    const pacing = new Pacing({ maxInFlight: 4, random: middle });
    const rounds = Array.from({ length: 4 }, () => {
      const tickets = beginAll(pacing, 0);
      for (const ticket of tickets) pacing.answered(ticket, true);
      return tickets.length;
    });
    expect(rounds).toEqual([2, 3, 4, 4]);
  });

  test('no more than go anyway', () => {
    const pacing = new Pacing({ maxInFlight: 8, random: middle });
    for (let request = 0; request < 100; request++) pacing.answered(pacing.begin(), false);
    expect(pacing.slots(0)).toBe(2);
  });

  test('one where one is the bound', () => {
    const pacing = new Pacing({ maxInFlight: 1, random: middle });
    expect(beginAll(pacing, 0)).toHaveLength(1);
  });
});

describe('after a failure', () => {
  test('nothing goes for a pause, then one probe, then half as many as before', () => {
    const pacing = new Pacing({ maxInFlight: 8, random: middle });
    for (let round = 0; round < 8; round++)
      for (const ticket of beginAll(pacing, 0)) pacing.answered(ticket, true);
    const [failing, ...others] = beginAll(pacing, 0) as [Ticket, ...Ticket[]];
    for (const ticket of others) pacing.answered(ticket, false);

    pacing.failed(failing, 'retrying', 1000, 0);
    expect(pacing.condition).toBe('retrying');
    expect(pacing.resumesAt()).toBe(1375);
    expect(pacing.slots(1374)).toBe(0);
    const probes = beginAll(pacing, 1375);
    expect(probes).toHaveLength(1);
    expect(pacing.resumesAt()).toBeUndefined();
    pacing.answered(probes[0] as Ticket, false);
    expect(pacing.condition).toBe('up');
    expect(beginAll(pacing, 1375)).toHaveLength(4);
  });

  test('requests that fail together count once; the longest pause that was asked for holds', () => {
    const pacing = new Pacing({ maxInFlight: 8, random: middle });
    const [a, b] = beginAll(pacing, 0) as [Ticket, Ticket];
    pacing.failed(a, 'retrying', 0, 0);
    expect(pacing.resumesAt()).toBe(375);
    pacing.failed(b, 'blocked', 0, 5000);
    expect(pacing.condition).toBe('retrying');
    expect(pacing.resumesAt()).toBe(5000);
    pacing.failed(pacing.begin(), 'retrying', 5000, 0);
    expect(pacing.resumesAt()).toBe(5750);
  });

  test('what was under way before neither ends the pause nor brings it back', () => {
    const pacing = new Pacing({ maxInFlight: 3, random: middle });
    for (const ticket of beginAll(pacing, 0)) pacing.answered(ticket, true);
    const [a, b, c] = beginAll(pacing, 0) as [Ticket, Ticket, Ticket];
    pacing.failed(a, 'retrying', 0, 0);
    pacing.answered(b, true);
    expect(pacing.condition).toBe('retrying');
    pacing.answered(pacing.begin(), false);
    expect(pacing.condition).toBe('up');
    pacing.failed(c, 'retrying', 400, 0);
    expect(pacing.condition).toBe('up');
  });

  test('the limit comes back to where it began even where little waits', () => {
    const pacing = new Pacing({ maxInFlight: 8, random: middle });
    pacing.failed(pacing.begin(), 'retrying', 0, 0);
    pacing.failed(pacing.begin(), 'retrying', 0, 0);
    expect(pacing.slots(10_000)).toBe(1);
    pacing.answered(pacing.begin(), false);
    expect(pacing.slots(10_000)).toBe(2);
  });
});

test('whatever comes, no more than the bound are in flight, one at most is a probe, and it always goes on', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('begin' as const), later: fc.nat(1000) }),
    fc.record({
      kind: fc.constantFrom('answered' as const, 'retrying' as const, 'blocked' as const),
      which: fc.nat(20),
      after: fc.constantFrom(0, 0, 100_000),
      moreWaits: fc.boolean(),
    }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(step), (maxInFlight, steps) => {
      const pacing = new Pacing({ maxInFlight, random: middle });
      const inFlight: Ticket[] = [];
      let now = 0;
      for (const next of steps) {
        if (next.kind === 'begin') {
          now += next.later;
          if (pacing.slots(now) > 0) inFlight.push(pacing.begin());
        } else {
          const [ticket] = inFlight.splice(next.which % Math.max(1, inFlight.length), 1);
          if (ticket === undefined) continue;
          if (next.kind === 'answered') pacing.answered(ticket, next.moreWaits);
          else pacing.failed(ticket, next.kind, now, next.after);
        }
        expect(inFlight.length).toBeLessThanOrEqual(maxInFlight);
        expect(inFlight.filter(({ isProbe }) => isProbe).length).toBeLessThanOrEqual(1);
      }
      for (const ticket of inFlight) pacing.answered(ticket, false);
      expect(pacing.slots(now + 3_600_000)).toBeGreaterThanOrEqual(1);
    }),
    { numRuns: 1000 },
  );
});
