import { expect, test } from 'vitest';
import type { Observed } from './arena.ts';
import { judge } from './judge.ts';
import { reportAttack } from './report.ts';

const QUIET: Observed = {
  witness: {
    waits: [3, 5, 4],
    lost: {},
    refused: {},
    acknowledged: [[1, 0]],
    livez: [2],
    livezFailures: 0,
  },
  delays: [12],
  undelivered: 0,
  peakBytes: 200 * 1024 * 1024,
  deaths: 0,
  longestTurnMs: 0,
};
const missed = (observed: Partial<Observed>, witness: Partial<Observed['witness']> = {}) =>
  judge({ ...QUIET, ...observed, witness: { ...QUIET.witness, ...witness } })
    .filter(({ isMet }) => !isMet)
    .map(({ what, measured }) => `${what}: ${measured}`);

test('a relay that serves others has met every goal', () => {
  expect(missed({})).toEqual([]);
});

test.each<[string, Partial<Observed>, Partial<Observed['witness']>, RegExp]>([
  ['it died', { deaths: 1 }, {}, /^deaths of the relay: 1$/],
  ['others wait', {}, { waits: [3, 4, 6_000] }, /^others' longest wait: 6,000 ms/],
  ['most others wait', {}, { waits: [3, 600, 700] }, /^p50 of others' waits: 600 ms/],
  ['others are lost', {}, { lost: { ECONNRESET: 2 } }, /lost: 2 of 3, 2 × ECONNRESET$/],
  ['others are refused', {}, { refused: { 503: 1 } }, /refused: 1 of 3, 1 × 503$/],
  ['what was taken is not delivered', { undelivered: 1 }, {}, /not delivered: 1 of 3$/],
  ['what was taken is delivered late', { delays: [30_000] }, {}, /upstream: 30,000 ms/],
  ['/livez hangs', {}, { livez: [9_000] }, /livez: 9,000 ms/],
  ['/livez fails', {}, { livezFailures: 1 }, /livez that failed: 1/],
  ['the pod would be killed', { peakBytes: 1.6e9 * 1.05 }, {}, /peak memory: 1,602/],
])('a goal is missed where %s', (_what, observed, witness, words) => {
  const all = missed(observed, witness);
  expect(all).toHaveLength(1);
  expect(all[0]).toMatch(words);
});

test('the report says what is missed', () => {
  const text = reportAttack({ answer: '200', figures: judge({ ...QUIET, deaths: 1 }) });
  expect(text).toMatch(/deaths of the relay +1 +at most 0 +MISSED\n/);
  expect(text).toMatch(/longest \/livez +2 ms +at most 5,000 ms\n/);
});
