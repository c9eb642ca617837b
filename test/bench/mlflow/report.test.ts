import { describe, expect, test } from 'vitest';
import { COLLECTOR, RELAY, loneReport, missingSpans, report } from './report.ts';
import type { Measurement } from './report.ts';
import { settlingReport } from './settling.ts';
import { countAnswers } from './setting.ts';
import { timeline } from './timeline.ts';

describe('the report', () => {
  test('has the median of each route, and ratios of what ran in the same round', () => {
    const text = report([
      ...rounds(RELAY, [10, 5, 20]),
      // The machine was slow in the second round, for both alike.
      ...rounds(COLLECTOR, [20, 10, 40]),
      ...rounds('ideal, 2 at once', [8, 5, 10]),
      ...rounds('ideal, 4 at once', [5, 4, 8]),
    ]);
    const cells = (route: string) =>
      text
        .split('\n')
        .find((line) => line.startsWith(`burst, ${route}`))
        ?.slice(`burst, ${route}`.length)
        .trim()
        .split(/\s+/)
        .slice(0, 3);
    expect(cells(RELAY)).toEqual(['800', '2', '0.5']);
    expect(cells(COLLECTOR)).toEqual(['400', '1', '0.25']);
    expect(cells('ideal, 4 at once')).toEqual(['1,600', '4', '1']);
    expect(text).toContain('burst: the relay stores 2 × what the Collector does (goal 2.2: not met)');
    expect(text).toContain(
      'burst: the relay stores 0.5 × what the best of the hand-made requests do (goal 0.9: not met)',
    );
  });

  test('says when a goal is met', () => {
    const text = report([
      ...rounds(RELAY, [10]),
      ...rounds(COLLECTOR, [23]),
      ...rounds('ideal, 2 at once', [9.5]),
    ]);
    expect(text).toContain('2.3 × what the Collector does (goal 2.2: met)');
    expect(text).toContain('0.95 × what the best of the hand-made requests do (goal 0.9: met)');
    expect(text).toContain('burst: deadlocks: 0 (goal 0: met); by the Collector 0');
  });

  test('compares only with what was measured', () => {
    const text = report(rounds(RELAY, [10]));
    expect(text).not.toMatch(/× what/);
    expect(text).toMatch(/deadlocks: 0 \(goal 0: met\)$/);
    expect(report(rounds(COLLECTOR, [10]))).not.toContain('goal');
  });

  test('says what the relay has found MLflow to take', () => {
    const [run] = rounds(RELAY, [10]) as [Measurement];
    const runs = [2, 3, 3].map((inFlight) =>
      Object.assign({}, run, { limits: { inFlight, batchSpans: 1000 } }),
    );
    expect(report(runs)).toContain('burst: at the end 3 requests at once, of up to 1,000 spans');
  });

  test('has the longest and the median of lone traces', () => {
    expect(loneReport([40, 50, 299])).toBe(
      'with an idle MLflow a lone trace is stored within 299 ms of its root (goal 300 ms: met), the median of 3 is 50 ms',
    );
    expect(loneReport([40, 50, 301])).toContain('not met');
  });

  test('adds up what was lost and what was deadlocked, as one is too many', () => {
    const [first, second] = rounds(RELAY, [10, 10]) as [Measurement, Measurement];
    const runs = [first, { ...second, storedSpans: 7990, deadlocks: 3 }];
    expect(runs.map(missingSpans)).toEqual([0, 10]);
    expect(report(runs)).toMatch(/^burst, relay( +\S+){3} +10 +3 +0 /m);
    expect(report(runs)).toContain('burst: deadlocks: 3 (goal 0: not met)');
  });
});

test('answers of MLflow are counted by status, those to traces alone', () => {
  const log = `INFO:     127.0.0.1:5 - "POST /v1/traces HTTP/1.1" 200 OK
INFO:     127.0.0.1:5 - "POST /api/2.0/mlflow/experiments/create HTTP/1.1" 200 OK
INFO:     127.0.0.1:6 - "POST /v1/traces HTTP/1.1" 503 Service Unavailable
INFO:     127.0.0.1:5 - "POST /v1/traces HTTP/1.1" 200 OK
`;
  expect(countAnswers(log)).toEqual(
    new Map([
      [200, 2],
      [503, 1],
    ]),
  );
});

test('the timeline has a line for each transaction', () => {
  const commits = [
    { at: 1500, spans: 20, traces: 1 },
    { at: 1750, spans: 40, traces: 2 },
  ];
  const lines = timeline({ beganAt: 1000, commits }).split('\n').slice(2);
  expect(lines.map((line) => line.trim().split(/\s+/))).toEqual([
    ['0.50', '500', '20', '1'],
    ['0.75', '250', '40', '2'],
  ]);
});

/** Of 8,000 spans each. */
function rounds(route: string, seconds: readonly number[]): Measurement[] {
  return seconds.map((taken, index) => ({
    scenario: 'burst',
    route,
    round: index + 1,
    sentSpans: 8000,
    storedSpans: 8000,
    seconds: taken,
    latency: { p50: 1, p95: 2 },
    requests: new Map([[200, 8]]),
    deadlocks: 0,
    inProgress: 0,
    cpu: { mlflow: 4, postgres: 1, forwarder: 0.5 },
    limits: undefined,
  }));
}

test('of samples taken at even times, settling is told by the later half', () => {
  const samples = [1, 2, 3, 4, 1, 1, 1, 2].map((inFlight) => ({ inFlight, batchSpans: 1000 }));
  expect(settlingReport('SQLite', samples)).toBe(
    'SQLite: 1 at once 75 % of the time, 2 at once 25 %; requests of up to 1,000 spans',
  );
});
