import type { ForwarderKind } from './forwarders.ts';
import { median } from '../median.ts';
import { figure, table } from '../table.ts';

/** What one run gave, or the medians of several. */
export type Figures = {
  /** CPU time of the forwarder a span, µs. */
  cpu: number;
  /** Spans a second, from the first request until the last span was delivered. */
  rate: number;
  /** The most that was seen, bytes: without mapped files, and with them. */
  anonymousMemory: number;
  totalMemory: number;
  /** Of the answers to the senders, ms. */
  p50: number;
  p99: number;
};

export type Measurement = { kind: ForwarderKind; spansPerRequest: number; figures: Figures };

/** The most that the relay may take of the durable Collector's CPU time a span, at every size. */
const CPU_MARK = 0.5;
const BASE: ForwarderKind = 'collector-durable';

const HEADLINE = [
  'spans a request, forwarder',
  'CPU µs a span',
  'spans/s',
  'memory MiB, anonymous',
  'total',
  'answer p50 ms',
  'p99',
  'CPU to the durable',
  'spans/s to it',
];

/** A table of the medians with their ratios, and whether the mark was met. */
export function report(measurements: readonly Measurement[]): string {
  const rows: string[][] = [];
  const verdicts: string[] = [];
  for (const size of new Set(measurements.map(({ spansPerRequest }) => spansPerRequest))) {
    const bySize = measurements.filter(({ spansPerRequest }) => spansPerRequest === size);
    const figuresOf = (kind: ForwarderKind) =>
      medians(bySize.filter((one) => one.kind === kind).map((one) => one.figures));
    const base = figuresOf(BASE);
    for (const kind of new Set(bySize.map((one) => one.kind))) {
      rows.push(toRow(`${size}, ${kind}`, figuresOf(kind), base));
    }
    const ratio = figuresOf('relay').cpu / base.cpu;
    if (Number.isNaN(ratio)) continue;
    verdicts.push(
      `${size} spans a request: the relay takes ${figure(ratio)} of the durable Collector's CPU a span; mark ${CPU_MARK}, ${ratio <= CPU_MARK ? 'met' : 'NOT met'}`,
    );
  }
  return [table(HEADLINE, rows), ...(verdicts.length > 0 ? ['', ...verdicts] : [])].join('\n');
}

function toRow(name: string, figures: Figures, base: Figures): string[] {
  const { cpu, rate, anonymousMemory, totalMemory, p50, p99 } = figures;
  const cells = [cpu, rate, anonymousMemory / 2 ** 20, totalMemory / 2 ** 20, p50, p99];
  return [name, ...[...cells, cpu / base.cpu, rate / base.rate].map(figure)];
}

function medians(all: readonly Figures[]): Figures {
  const of = (name: keyof Figures) => median(all.map((figures) => figures[name]));
  return {
    cpu: of('cpu'),
    rate: of('rate'),
    anonymousMemory: of('anonymousMemory'),
    totalMemory: of('totalMemory'),
    p50: of('p50'),
    p99: of('p99'),
  };
}
