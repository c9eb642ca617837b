import { median } from '../median.ts';
import { figure, table } from '../table.ts';

/** What came of one scenario by one route, once. */
export type Measurement = {
  readonly scenario: string;
  readonly route: string;
  readonly round: number;
  readonly sentSpans: number;
  readonly storedSpans: number;
  /** From the first request sent until the last span was committed. */
  readonly seconds: number;
  /** From the end of a span until it was committed, in seconds; undefined where spans are sent before their time. */
  readonly latency: { readonly p50: number; readonly p95: number } | undefined;
  /** To MLflow, by status. */
  readonly requests: ReadonlyMap<number, number>;
  readonly deadlocks: number;
  /** Traces that MLflow shows as unfinished. */
  readonly inProgress: number;
  /** In seconds. */
  readonly cpu: { readonly mlflow: number; readonly postgres: number; readonly forwarder: number };
  /** What the relay gave MLflow at the end; undefined for others. */
  readonly limits: Limits | undefined;
};

/** Most requests at once, and most spans in one, as far as the relay has found out. */
export type Limits = { readonly inFlight: number; readonly batchSpans: number };

export const RELAY = 'relay';
export const COLLECTOR = 'Collector';

/** What the relay is to store a second, as a multiple of what the Collector does, by scenario. */
const GOALS: Readonly<Record<string, number>> = { burst: 2.2, slow: 3.5 };
/** And as a share of what the best of the hand-made requests do. */
const IDEAL_GOAL = 0.9;
const LONE_GOAL_MS = 300;

/** A table of the medians, and what they say of the relay. */
export function report(measurements: readonly Measurement[]): string {
  const scenarios = [...new Set(measurements.map(({ scenario }) => scenario))];
  const rows = scenarios.flatMap((scenario) => rowsOf(measurements.filter((m) => m.scenario === scenario)));
  const verdicts = scenarios.flatMap((scenario) => verdictsOn(scenario, measurements));
  return [table(HEADLINE, rows), ...(verdicts.length > 0 ? [verdicts.join('\n')] : [])].join('\n\n');
}

const HEADLINE = [
  'scenario, route',
  'spans/s',
  '× Collector',
  '× ideal',
  'missing',
  'deadlocks',
  'unfinished',
  'requests',
  'spans each',
  'p50 s',
  'p95 s',
  'CPU s: MLflow',
  'PostgreSQL',
  'forwarder',
];

/** Missing spans and deadlocks are those of all rounds, as one is too many; all else is a median. */
function rowsOf(measurements: readonly Measurement[]): string[][] {
  const byRoute = Map.groupBy(measurements, ({ route }) => route);
  const best = bestIdeal(byRoute);
  return [...byRoute].map(([route, runs]) => {
    const typical = (value: (m: Measurement) => number) => figure(median(runs.map(value)));
    return [
      `${runs[0]?.scenario}, ${route}`,
      typical(spansPerSecond),
      ratio(runs, byRoute.get(COLLECTOR)),
      ratio(runs, best),
      String(sum(runs, missingSpans)),
      String(sum(runs, (m) => m.deadlocks)),
      String(sum(runs, (m) => m.inProgress)),
      typical(requestCount),
      typical((m) => m.storedSpans / requestCount(m)),
      typical((m) => m.latency?.p50 ?? Number.NaN),
      typical((m) => m.latency?.p95 ?? Number.NaN),
      typical((m) => m.cpu.mlflow),
      typical((m) => m.cpu.postgres),
      typical((m) => m.cpu.forwarder),
    ];
  });
}

function verdictsOn(scenario: string, measurements: readonly Measurement[]): string[] {
  const byRoute = Map.groupBy(
    measurements.filter((m) => m.scenario === scenario),
    ({ route }) => route,
  );
  const relay = byRoute.get(RELAY);
  if (relay === undefined) return [];
  const collector = byRoute.get(COLLECTOR);
  const best = bestIdeal(byRoute);
  const deadlocks = sum(relay, (m) => m.deadlocks);
  const lines = [
    ...(collector === undefined ? [] : [times(relay, collector, 'the Collector does', GOALS[scenario])]),
    ...(best === undefined ? [] : [times(relay, best, 'the best of the hand-made requests do', IDEAL_GOAL)]),
    `deadlocks: ${deadlocks} (${goal(0, deadlocks === 0)})` +
      (collector === undefined ? '' : `; by the Collector ${sum(collector, (m) => m.deadlocks)}`),
    ...limitsOf(relay),
  ];
  return lines.map((line) => `${scenario}: ${line}`);
}

function times(
  relay: readonly Measurement[],
  others: readonly Measurement[],
  who: string,
  wanted: number | undefined,
): string {
  const multiple = medianRatio(relay, others);
  return `the relay stores ${figure(multiple)} × what ${who}${wanted === undefined ? '' : ` (${goal(wanted, multiple >= wanted)})`}`;
}

function goal(wanted: number | string, isMet: boolean): string {
  return `goal ${wanted}: ${isMet ? 'met' : 'not met'}`;
}

function limitsOf(relay: readonly Measurement[]): string[] {
  const limits = relay.flatMap((m) => m.limits ?? []).filter(({ inFlight }) => inFlight > 0);
  if (limits.length === 0) return [];
  const typical = (value: (limit: Limits) => number) => figure(median(limits.map(value)));
  return [
    `at the end ${typical((l) => l.inFlight)} requests at once, of up to ${typical((l) => l.batchSpans)} spans`,
  ];
}

/** @param waits ms from the answer to the root of a trace until the trace was committed, of each trace */
export function loneReport(waits: readonly number[]): string {
  const longest = Math.max(...waits);
  return (
    `with an idle MLflow a lone trace is stored within ${figure(longest)} ms of its root ` +
    `(${goal(`${LONE_GOAL_MS} ms`, longest <= LONE_GOAL_MS)}), the median of ${waits.length} is ${figure(median(waits))} ms`
  );
}

/** The ceiling is what the best of the hand-made batches reach. */
function bestIdeal(byRoute: ReadonlyMap<string, Measurement[]>): Measurement[] | undefined {
  const ideals = [...byRoute].filter(([route]) => route.startsWith('ideal')).map(([, runs]) => runs);
  const speed = (runs: Measurement[]) => median(runs.map(spansPerSecond));
  return ideals.toSorted((a, b) => speed(b) - speed(a))[0];
}

function ratio(runs: readonly Measurement[], others: readonly Measurement[] | undefined): string {
  return others === undefined ? '-' : figure(medianRatio(runs, others));
}

/** The median of the rounds' own ratios: a machine that slows down slows what runs next to each other alike. */
function medianRatio(runs: readonly Measurement[], others: readonly Measurement[]): number {
  const ratios = runs.flatMap((run) => {
    const other = others.find(({ round }) => round === run.round);
    return other === undefined ? [] : [spansPerSecond(run) / spansPerSecond(other)];
  });
  return median(ratios);
}

function spansPerSecond({ storedSpans, seconds }: Measurement): number {
  return storedSpans / seconds;
}

export function missingSpans({ sentSpans, storedSpans }: Measurement): number {
  return sentSpans - storedSpans;
}

function requestCount({ requests }: Measurement): number {
  return [...requests.values()].reduce((total, count) => total + count, 0);
}

function sum(runs: readonly Measurement[], value: (m: Measurement) => number): number {
  return runs.reduce((total, run) => total + value(run), 0);
}
