import { median } from '../median.ts';
import { figure, table } from '../table.ts';
import type { Filler, FullDiskFacts } from './full-disk.ts';
import type { CostFigures } from './measure.ts';
import type { StoreKind } from './store.ts';

export type CostMeasurement = { kind: StoreKind; spansPerRecord: number; figures: CostFigures };

/** Characters of an error. */
const WORDS = 40;

const HEADLINE = [
  'spans a record, store',
  'CPU µs a span: append',
  'read',
  'remove',
  'all',
  'to the log',
  'records/s',
  'to the log',
  'bytes written for one',
];

/** A table of the medians, each store beside the log. */
export function costReport(measurements: readonly CostMeasurement[]): string {
  const rows: string[][] = [];
  for (const size of new Set(measurements.map(({ spansPerRecord }) => spansPerRecord))) {
    const bySize = measurements.filter(({ spansPerRecord }) => spansPerRecord === size);
    const figuresOf = (kind: StoreKind) =>
      medians(bySize.filter((one) => one.kind === kind).map((one) => one.figures));
    const base = figuresOf('log');
    for (const kind of new Set(bySize.map((one) => one.kind))) {
      const figures = figuresOf(kind);
      const { appendCpu, readCpu, removeCpu, rate, writes } = figures;
      const all = cpuOf(figures);
      const cells = [appendCpu, readCpu, removeCpu, all, all / cpuOf(base), rate, rate / base.rate, writes];
      rows.push([`${size}, ${kind}`, ...cells.map(figure)]);
    }
  }
  return table(HEADLINE, rows);
}

function cpuOf({ appendCpu, readCpu, removeCpu }: CostFigures): number {
  return appendCpu + readCpu + removeCpu;
}

function medians(all: readonly CostFigures[]): CostFigures {
  const of = (name: keyof CostFigures) => median(all.map((figures) => figures[name]));
  return {
    appendCpu: of('appendCpu'),
    readCpu: of('readCpu'),
    removeCpu: of('removeCpu'),
    rate: of('rate'),
    writes: of('writes'),
  };
}

/** What each does on a full disk, in its own words, or how its process died. */
export function fullDiskReport(
  all: readonly { kind: StoreKind; filler: Filler; facts: FullDiskFacts | string }[],
): string {
  const rows = all.map(({ kind, filler, facts }) => {
    const name = `${kind}, filled by ${filler}`;
    if (typeof facts === 'string') return [name, '-', shortened(facts), '-'];
    return [name, figure(facts.records), shortened(facts.removesHalf), shortened(facts.takesAgain)];
  });
  return table(['full disk', 'records on it', 'removes the oldest half', 'then takes records'], rows);
}

function shortened(words: string): string {
  const [line = ''] = words.split('\n');
  return line.length <= WORDS ? line : `${line.slice(0, WORDS - 1)}…`;
}
