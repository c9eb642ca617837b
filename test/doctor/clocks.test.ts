import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  aheadBy,
  checkClock,
  checkTokenTimes,
  readingOfDate,
  readingOfSeconds,
} from '../../src/doctor/clocks.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');

/** Of a clock that is so far ahead, asked at `NOW`, which showed whole seconds after `delay` of `took` ms. */
function reading(ahead: number, delay = 0, took = delay) {
  return readingOfSeconds(Math.floor((NOW + delay + ahead) / 1000), NOW, NOW + took)!;
}

const asked = fc.record({
  ahead: fc.integer({ min: -10_000_000, max: 10_000_000 }),
  delay: fc.nat(30_000),
  rest: fc.nat(30_000),
});

test('what is said of a clock is never more than it is, and less by no more than the answer took', () => {
  fc.assert(
    fc.property(asked, ({ ahead, delay, rest }) => {
      const said = aheadBy(reading(ahead, delay, delay + rest));
      expect(Math.abs(said)).toBeLessThanOrEqual(Math.abs(ahead));
      expect(Math.abs(ahead) - Math.abs(said)).toBeLessThanOrEqual(delay + rest + 1000);
      expect(said * ahead).toBeGreaterThanOrEqual(0);
    }),
  );
});

test('a clock that is right is never said to be wrong', () => {
  fc.assert(
    fc.property(asked, ({ delay, rest }) => {
      const right = reading(0, delay, delay + rest);
      expect(aheadBy(right)).toBe(0);
      expect(checkClock('MLflow', { 'its answer': right }).state).toBe('ok');
      expect(checkTokenTimes(right, right, 300_000).state).toBe('ok');
    }),
  );
});

test.each([
  ['Mon, 23 Nov 2026 12:00:00 GMT', { from: NOW, to: NOW + 999, askedAt: 1, answeredAt: 2 }],
  ['soon', undefined],
  [undefined, undefined],
])('the Date header %j', (date, expected) => {
  expect(readingOfDate(date, 1, 2)).toEqual(expected);
});

test.each([
  [{ a: undefined }, 'ok', 'the issuer does not tell the time'],
  [{ a: reading(4_000) }, 'ok', 'the issuer and this machine have the same time'],
  [
    { a: reading(8_000) },
    'warning',
    'a shows that the clock of the issuer is 8 s ahead of that of this machine',
  ],
  [{ a: reading(0), b: reading(-61_000) }, 'warning', 'b shows that the clock of the issuer is 61 s behind'],
])('of clocks that show %j the worst counts', (tells, state, words) => {
  const verdict = checkClock('the issuer', tells);
  expect(verdict.state).toBe(state);
  expect(verdict.words).toContain(words);
});

describe('times of tokens', () => {
  test.each([
    ['both right', 0, 0, 'ok', 'have the same time'],
    ['both wrong alike', 90_000, 90_000, 'ok', 'have the same time'],
    ['MLflow behind', 0, -120_000, 'warning', 'MLflow is 120 s behind that of the issuer'],
    ['the issuer a little ahead', 4_000, 0, 'ok', 'have the same time'],
    ['the issuer ahead', 6_000, 0, 'warning', 'MLflow is 6 s behind'],
    ['MLflow a little ahead', 0, 3_000, 'ok', 'have the same time'],
    ['MLflow ahead', 0, 120_000, 'warning', 'tokens end so much earlier'],
    ['MLflow ahead by more than a token lives', 0, 302_000, 'failed', 'over for MLflow when they come'],
  ])('%s', (_, issuer, mlflow, state, words) => {
    const verdict = checkTokenTimes(reading(issuer), reading(mlflow), 300_000);
    expect(verdict.state).toBe(state);
    expect(verdict.words).toContain(words);
  });

  test('what does not tell the time cannot be compared', () => {
    expect(checkTokenTimes(undefined, reading(0), 1).words).toBe('the token does not tell the time');
    expect(checkTokenTimes(reading(0), undefined, 1).words).toBe('MLflow does not tell the time');
  });
});
