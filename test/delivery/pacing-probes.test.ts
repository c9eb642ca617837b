import { describe, expect, test } from 'vitest';
import { backoff } from '../../src/delivery/pacing.ts';
import type { Pacing, Ticket } from '../../src/delivery/pacing.ts';
import { beginAll, LAST, middle, pacingOf } from './pacing-support.ts';

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
    pacing.answered(next, LAST);
    pacing.failed(hanging, 'retrying', 30_000, 0);
    expect(pacing.condition).toBe('up');
  });

  test('and turns out to be set up wrong is left alone for long, but not from the start', () => {
    const pacing = away();
    pacing.beginProbe(4125);
    pacing.probeFailed('blocked', 4130, 0);
    expect(pacing.condition).toBe('blocked');
    expect(pacing.probesAt()).toBe(4130 + backoff(1, 'blocked', middle));
  });

  test('is not probed where it takes requests, or where nothing is known that leaves nothing there', () => {
    const up = pacingOf(8, true);
    expect(up.probesAt()).toBeUndefined();
    const mute = pacingOf(8, false);
    mute.failed(mute.begin(0), 'retrying', 0, 0);
    expect(mute.probesAt()).toBeUndefined();
  });
});

/** Blocked since 0, with its pause over at 1500. */
function blocked(): Pacing {
  const pacing = pacingOf(8, true);
  pacing.failed(pacing.begin(0), 'blocked', 0, 0);
  return pacing;
}

describe('an upstream that is set up wrong', () => {
  test('is probed when the pause is over, and gets one batch once it has answered', () => {
    const pacing = blocked();
    expect(pacing.probesAt()).toBe(1500);
    expect(pacing.resumesAt()).toBeUndefined();
    expect(pacing.slots(1e9)).toBe(0);
    pacing.beginProbe(1500);
    expect(pacing.slots(1501)).toBe(0);
    pacing.probeAnswered(1510);
    expect(pacing.condition).toBe('blocked');
    const trials = beginAll(pacing, 1510);
    expect(trials).toHaveLength(1);
    expect(pacing.probesAt()).toBeUndefined();
    pacing.answered(trials[0] as Ticket, LAST);
    expect(pacing.condition).toBe('up');
  });

  test('is probed after ever longer pauses, whether probes or the batches after them are refused', () => {
    for (const refused of ['probes', 'batches'] as const) {
      const pacing = blocked();
      const pauses: number[] = [];
      for (let now = 1500; pauses.length < 8;) {
        pacing.beginProbe(now);
        if (refused === 'probes') {
          pacing.probeFailed('blocked', now, 0);
        } else {
          pacing.probeAnswered(now);
          pacing.failed(pacing.begin(now), 'blocked', now, 0);
        }
        expect(pacing.slots(1e9)).toBe(0);
        const next = pacing.probesAt() ?? Infinity;
        pauses.push(next - now);
        now = next;
      }
      expect(pauses).toEqual([3000, 6000, 12_000, 24_000, 45_000, 45_000, 45_000, 45_000]);
    }
  });

  test('and goes away is probed as one that is away', () => {
    const pacing = blocked();
    pacing.beginProbe(1500);
    pacing.probeFailed('retrying', 1510, 0);
    expect(pacing.condition).toBe('retrying');
    expect(pacing.probesAt()).toBe(1510 + 750);
    pacing.beginProbe(2260);
    pacing.probeAnswered(2270);
    expect(beginAll(pacing, 2270)).toHaveLength(1);
  });

  test('is not taken for mended by a probe of the time before', () => {
    const pacing = away();
    const trial = pacing.begin(5625);
    pacing.beginProbe(6375);
    pacing.failed(trial, 'blocked', 6380, 0);
    pacing.probeAnswered(6390);
    expect(pacing.slots(1e9)).toBe(0);
    expect(pacing.probesAt()).toBe(6380 + backoff(1, 'blocked', middle));
  });

  test('gets a batch after the pause where it cannot be probed', () => {
    const pacing = pacingOf(8, false);
    pacing.failed(pacing.begin(0), 'blocked', 0, 0);
    expect(pacing.resumesAt()).toBe(1500);
    expect(pacing.slots(1499)).toBe(0);
    expect(pacing.slots(1500)).toBe(1);
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
