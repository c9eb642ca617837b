import { describe, expect, test } from 'vitest';
import {
  FailureEvidence,
  isAlone,
  isToGiveUp,
  isToHalve,
  ofPart,
} from '../../src/delivery/failure-evidence.ts';
import type { OwnFailures } from '../../src/delivery/failure-evidence.ts';
import { randomOf } from './upstream-model.ts';

const TARGET = 'experiment 1';
const MINUTE = 60_000;

/** Of a target of which so many requests were seen, of which a share fails. */
function known({ requests = 1000, share = 0 } = {}): FailureEvidence {
  const evidence = new FailureEvidence();
  for (let number = 1; number <= requests; number++) {
    const isFailed = Math.floor(number * share) > Math.floor((number - 1) * share);
    evidence.tried(TARGET, { isPart: false, isFailed });
  }
  return evidence;
}

/** A batch fails, so many times, each a minute after the other and with something stored in between. */
function fail(evidence: FailureEvidence, times: number, before?: OwnFailures): OwnFailures {
  let own = before;
  for (let time = 0; time < times; time++) {
    const begun = (own?.begun ?? 0) + 10;
    if (own !== undefined) evidence.stored(TARGET, begun - 5);
    own = evidence.failed(own, { target: TARGET, now: time * MINUTE, begun });
  }
  return own!;
}

/** The request with number 10 is given up for its time, after the one with this number was stored. */
function late(evidence: FailureEvidence, stored: number): OwnFailures {
  evidence.stored(TARGET, stored);
  return evidence.failed(undefined, { target: TARGET, now: 0, since: 10, begun: 20 });
}

describe('what fails while others are stored', () => {
  test.each([
    // share, failures until halved, failures until given up
    [0, 2, 11],
    [0.05, 2, 11],
    [1 / 3, 4, 26],
    [0.5, 5, 41],
    [0.9, 24, 263],
  ])('where a share of %d fails, goes in halves after %d failures, and is given up after %d', (...about) => {
    const [share, halved, givenUp] = about;
    const evidence = known({ share });
    const first = (isMeant: (own: OwnFailures) => boolean) => {
      let own = fail(evidence, 1);
      let times = 1;
      for (; !isMeant(own); times++) own = fail(evidence, 1, own);
      return times;
    };
    const times = { halved: first(isToHalve), givenUp: first((own) => isToGiveUp(own, 1e9, false)) };
    expect(times.halved).toBe(halved);
    expect(Math.abs(times.givenUp - givenUp)).toBeLessThanOrEqual(givenUp / 20);
  });

  test('is not given up within ten minutes, but where nothing else can be read', () => {
    const evidence = known();
    const own = fail(evidence, 20);
    expect(isToGiveUp(own, 10 * MINUTE - 1, false)).toBe(false);
    expect(isToGiveUp(own, 10 * MINUTE, false)).toBe(true);
    expect(isToGiveUp(own, 0, true)).toBe(true);
    expect(isToGiveUp(fail(known(), 3), 0, true)).toBe(false);
  });

  test('counts nothing while nothing is stored, nor what is stored elsewhere or began before', () => {
    const evidence = known();
    let own: OwnFailures | undefined;
    for (let time = 0; time < 100; time++) {
      evidence.stored('experiment 2', 1_000 * (time + 1));
      evidence.stored(TARGET, 10 * time);
      own = evidence.failed(own, { target: TARGET, now: time * MINUTE, begun: 10 * (time + 1) });
    }
    expect(own).toMatchObject({ times: 100, evidence: 0 });
  });

  test('counts a first failure for want of time where what began later was stored', () => {
    expect(isAlone(undefined, late(known(), 11))).toBe(true);
    expect(isAlone(undefined, late(known(), 9))).toBe(false);
    // Where many fail it may be the upstream that is slow.
    expect(isAlone(undefined, late(known({ share: 0.5 }), 11))).toBe(false);
  });

  test('a part of it begins anew, and its first failure counts', () => {
    const evidence = known();
    const part = ofPart(fail(evidence, 5));
    expect(part).toMatchObject({ since: undefined, times: 0, evidence: 0 });
    evidence.stored(TARGET, 1_000);
    expect(isToHalve(evidence.failed(part, { target: TARGET, now: 7, begun: 2_000 }))).toBe(true);
  });

  test('parts of what fails do not make their target look bad', () => {
    const evidence = known();
    for (let part = 0; part < 1_000; part++)
      evidence.tried(TARGET, { isPart: true, isFailed: part % 2 === 0 });
    expect(isToHalve(fail(evidence, 2))).toBe(true);
  });
});

test.each([0.05, 1 / 3, 0.5, 0.8])(
  'where a share of %d fails by chance, of many requests none is given up',
  (share) => {
    const random = randomOf(Math.round(share * 1000));
    const evidence = new FailureEvidence();
    let number = 0;
    let most = 0;
    let given = false;
    for (let request = 0; request < 1e5; request++) {
      evidence.stored(TARGET, ++number);
      let own: OwnFailures | undefined;
      while (random() < share) {
        if (own === undefined) evidence.tried(TARGET, { isPart: false, isFailed: true });
        own = evidence.failed(own, { target: TARGET, now: 0, begun: number });
        evidence.stored(TARGET, ++number);
        most = Math.max(most, own.evidence);
        given ||= isToGiveUp(own, 1e9, false);
      }
      if (own === undefined) evidence.tried(TARGET, { isPart: false, isFailed: false });
    }
    expect(given).toBe(false);
    // The largest of so many draws is about the logarithm of their number: the measure means what it says.
    expect(most).toBeGreaterThan(6);
    expect(most).toBeLessThan(22);
  },
);
