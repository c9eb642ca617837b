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
};

export const RELAY = 'relay';
export const COLLECTOR = 'Collector';

/** What the relay is to store a second, as a multiple of what the Collector does. */
const MARK = 1.5;

/** A table of the medians, and what they say of the relay. */
export function report(measurements: readonly Measurement[]): string {
  const scenarios = [...new Set(measurements.map(({ scenario }) => scenario))];
  const rows = scenarios.flatMap((scenario) => rowsOf(measurements.filter((m) => m.scenario === scenario)));
  const verdicts = scenarios.flatMap((scenario) => verdictOn(scenario, measurements) ?? []);
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

function verdictOn(scenario: string, measurements: readonly Measurement[]): string | undefined {
  const of = (route: string) => measurements.filter((m) => m.scenario === scenario && m.route === route);
  const times = medianRatio(of(RELAY), of(COLLECTOR));
  if (Number.isNaN(times)) return undefined;
  return `${scenario}: the relay stores ${figure(times)} × what the Collector does; the mark of ${MARK} × is ${times >= MARK ? 'met' : 'not met'}`;
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
