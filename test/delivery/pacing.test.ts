import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backoff, Pacing, pauseAfter } from '../../src/delivery/pacing.ts';
import type { Ticket } from '../../src/delivery/pacing.ts';

const middle = () => 0.5;

function pacingOf(maxInFlight: number, canProbe = false): Pacing {
  return new Pacing({ maxInFlight, canProbe, random: middle });
}

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
  while (pacing.slots(now) > 0) tickets.push(pacing.begin(now));
  return tickets;
}

describe('how many at once', () => {
  test('two at first, one more a round while more waits, up to the bound', () => {
    const pacing = pacingOf(4);
    const rounds = Array.from({ length: 4 }, () => {
      const tickets = beginAll(pacing, 0);
      for (const ticket of tickets) pacing.answered(ticket, true);
      return tickets.length;
    });
    expect(rounds).toEqual([2, 3, 4, 4]);
  });

  test('no more than go anyway', () => {
    const pacing = pacingOf(8);
    for (let request = 0; request < 100; request++) pacing.answered(pacing.begin(0), false);
    expect(pacing.slots(0)).toBe(2);
  });

  test('one where one is the bound', () => {
    const pacing = pacingOf(1);
    expect(beginAll(pacing, 0)).toHaveLength(1);
  });
});

describe('after a failure', () => {
  test('nothing goes for a pause, then one trial, then half as many as before', () => {
    const pacing = pacingOf(8);
    for (let round = 0; round < 8; round++)
      for (const ticket of beginAll(pacing, 0)) pacing.answered(ticket, true);
    const [failing, ...others] = beginAll(pacing, 0) as [Ticket, ...Ticket[]];
    for (const ticket of others) pacing.answered(ticket, false);

    pacing.failed(failing, 'retrying', 1000, 0);
    expect(pacing.condition).toBe('retrying');
    expect(pacing.resumesAt()).toBe(1375);
    expect(pacing.slots(1374)).toBe(0);
    const trials = beginAll(pacing, 1375);
    expect(trials).toHaveLength(1);
    expect(pacing.resumesAt()).toBeUndefined();
    pacing.answered(trials[0] as Ticket, false);
    expect(pacing.condition).toBe('up');
    expect(beginAll(pacing, 1375)).toHaveLength(4);
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
    const pacing = pacingOf(3);
    for (const ticket of beginAll(pacing, 0)) pacing.answered(ticket, true);
    const [a, b, c] = beginAll(pacing, 0) as [Ticket, Ticket, Ticket];
    pacing.failed(a, 'retrying', 0, 0);
    pacing.answered(b, true);
    expect(pacing.condition).toBe('retrying');
    pacing.answered(pacing.begin(10_000), false);
    expect(pacing.condition).toBe('up');
    pacing.failed(c, 'retrying', 400, 0);
    expect(pacing.condition).toBe('up');
  });

  test('the limit comes back to where it began even where little waits', () => {
    const pacing = pacingOf(8);
    pacing.failed(pacing.begin(0), 'retrying', 0, 0);
    pacing.failed(pacing.begin(0), 'retrying', 0, 0);
    expect(pacing.slots(10_000)).toBe(1);
    pacing.answered(pacing.begin(10_000), false);
    expect(pacing.slots(10_000)).toBe(2);
  });
});

/** Away since 0, and away still by a probe at 3376. */
function away(): Pacing {
  const pacing = pacingOf(8, true);
  pacing.failed(pacing.begin(0), 'retrying', 0, 0);
  for (const now of [375, 1125, 2625]) pacing.failed(pacing.begin(now), 'retrying', now, 0);
  expect(pacing.probesAt()).toBe(3375);
  pacing.beginProbe(3375);
  expect(pacing.probesAt()).toBeUndefined();
  pacing.probeFailed('retrying', 3376, 0);
  return pacing;
}

describe('an upstream that is away', () => {
  test('is probed within a second, again and again, and once it is back one batch goes at once', () => {
    const pacing = away();
    expect(pacing.probesAt()).toBe(4125);
    expect(pacing.resumesAt()).toBe(5625);
    pacing.beginProbe(4125);
    expect(pacing.slots(5625)).toBe(0);
    pacing.probeAnswered(4130);
    expect(pacing.condition).toBe('retrying');
    expect(beginAll(pacing, 4130)).toHaveLength(1);
  });

  test('and takes no batch though it is back gets the next after a pause that goes on growing', () => {
    const pacing = away();
    pacing.beginProbe(4125);
    pacing.probeAnswered(4130);
    pacing.failed(pacing.begin(4130), 'retrying', 4200, 0);
    expect(pacing.resumesAt()).toBe(4200 + backoff(5, 'retrying', middle));
    // It is there, as before: that is no news.
    pacing.beginProbe(4950);
    pacing.probeAnswered(4960);
    expect(pacing.slots(4960)).toBe(0);
    expect(pacing.resumesAt()).toBe(4200 + backoff(5, 'retrying', middle));
  });

  test('is probed no earlier than it asks, and has a batch at once if it is there then', () => {
    for (const says of ['batch', 'probe'] as const) {
      const pacing = pacingOf(8, true);
      for (let now = 0; now < 100_000; now += 10_000) pacing.failed(pacing.begin(now), 'retrying', now, 0);
      if (says === 'batch') {
        pacing.failed(pacing.begin(100_000), 'retrying', 100_000, 5000);
      } else {
        pacing.beginProbe(100_000);
        pacing.probeFailed('retrying', 100_000, 5000);
      }
      expect(pacing.slots(104_999)).toBe(0);
      expect(pacing.probesAt()).toBe(105_000);
      pacing.beginProbe(105_000);
      pacing.probeAnswered(105_010);
      expect(pacing.slots(105_010)).toBe(1);
    }
  });

  test('a probe that was under way when it asked for a pause does not end that pause', () => {
    const pacing = away();
    const [batch] = beginAll(pacing, 5625) as [Ticket];
    pacing.beginProbe(6375);
    pacing.failed(batch, 'retrying', 6400, 60_000);
    pacing.probeAnswered(6500);
    expect(pacing.slots(66_399)).toBe(0);
    expect(pacing.slots(66_400)).toBe(1);
  });

  test('that comes back while a batch hangs gets another one', () => {
    const pacing = away();
    const [hanging] = beginAll(pacing, 5625) as [Ticket];
    expect(pacing.probesAt()).toBe(6375);
    pacing.beginProbe(6375);
    pacing.probeAnswered(6380);
    const [next] = beginAll(pacing, 6380) as [Ticket];
    expect(pacing.slots(6380)).toBe(0);
    pacing.answered(next, false);
    pacing.failed(hanging, 'retrying', 30_000, 0);
    expect(pacing.condition).toBe('up');
  });

  test('and turns out to be set up wrong is left alone for long, but not from the start', () => {
    const pacing = away();
    pacing.beginProbe(4125);
    pacing.probeFailed('blocked', 4130, 0);
    expect(pacing.condition).toBe('blocked');
    expect(pacing.probesAt()).toBeUndefined();
    expect(pacing.resumesAt()).toBe(4130 + backoff(1, 'blocked', middle));
  });

  test('is not probed where it takes requests, or where nothing is known that leaves nothing there', () => {
    const up = pacingOf(8, true);
    expect(up.probesAt()).toBeUndefined();
    const mute = pacingOf(8, false);
    mute.failed(mute.begin(0), 'retrying', 0, 0);
    expect(mute.probesAt()).toBeUndefined();
  });
});

/** Plays an upstream for ten minutes that fails every batch at once; returns when each was sent. */
function trialsOf(isThere: (now: number) => boolean): number[] {
  const pacing = pacingOf(8, true);
  const trials: number[] = [];
  for (let now = 0; now < 600_000; now += 10) {
    for (const ticket of pacing.slots(now) > 0 ? [pacing.begin(now)] : []) {
      trials.push(now);
      pacing.failed(ticket, 'retrying', now, 0);
    }
    if (now < (pacing.probesAt() ?? Infinity)) continue;
    pacing.beginProbe(now);
    if (isThere(now)) pacing.probeAnswered(now);
    else pacing.probeFailed('retrying', now, 0);
  }
  return trials;
}

test.each<[string, (now: number) => boolean]>([
  ['is there', () => true],
  ['is away', () => false],
  ['comes and goes', (now) => Math.floor(now / 1500) % 2 === 0],
])('an upstream that %s and takes nothing is spared batches', (_, isThere) => {
  const trials = trialsOf(isThere);
  const late = trials.filter((at) => at >= 60_000);
  expect(late.length).toBeGreaterThan(15);
  expect(late.length).toBeLessThan(40);
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
            const wasRetrying = pacing.condition === 'retrying';
            if (next.outcome === 'answered') pacing.probeAnswered(now);
            else pacing.probeFailed(next.outcome, now, next.after);
            if (next.outcome !== 'answered' && wasRetrying) noteAsked(next.after);
          } else if (now >= (pacing.probesAt() ?? Infinity)) {
            isProbing = true;
            pacing.beginProbe(now);
          }
        } else {
          const [ticket] = inFlight.splice(next.which % Math.max(1, inFlight.length), 1);
          if (ticket === undefined) continue;
          if (next.kind === 'answered') {
            pacing.answered(ticket, next.moreWaits);
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
      for (const ticket of inFlight) pacing.answered(ticket, false);
      expect(pacing.slots(now + 3_600_000)).toBeGreaterThanOrEqual(1);
    }),
    { numRuns: 1000 },
  );
});
