import type { Destination, ResolvedTarget, SendOutcome } from '../../src/destinations/destination.ts';
import { repairForMlflow } from '../../src/destinations/mlflow-repair.ts';
import type { RouteTarget } from '../../src/otlp/record.ts';
import type { Random } from '../fault/support/random.ts';
import { DELIVERED } from './dispatcher-support.ts';
import { decode, traceIdOf } from './support.ts';
import type { SentSpan } from './support.ts';

/** What is wrong with a span, which its name begins with. */
export const KINDS = ['good', 'bad', 'doubted', 'poison', 'slow', 'nul\0'] as const;
export type Kind = (typeof KINDS)[number];

/** From when to when, in ms since the upstream was made. */
export type Interval = { readonly from: number; readonly to: number };

export type Faults = {
  /** Traces that it takes no more, from some time on. */
  readonly gone: readonly { readonly trace: number; readonly from: number }[];
  /** How many of these it names. */
  readonly naming: 'first' | 'all' | 'none';
  /** Whole traces are refused before spans are looked at. */
  readonly isTraceFirst: boolean;
  readonly outages: readonly (Interval & { readonly outcome: SendOutcome })[];
  /** Share of requests that it fails at. */
  readonly flaky: number;
  /** More spans are too many for it. */
  readonly mostSpans: number;
  readonly canProbe: boolean;
};

/** A span as an upstream knows it; what was mended counts as what it was. */
export type Content = {
  readonly key: string;
  readonly trace: number;
  readonly name: string;
  readonly hasEnd: boolean;
};

type Facts = {
  readonly resource: { readonly resource: { readonly attributes: { value: { stringValue: string } }[] } };
  readonly span: { readonly name: string; readonly endTimeUnixNano?: number };
};

const whole = (text: string) => text.replaceAll('\0', '\uFFFD');

export function contentOf({ id, trace, facts }: SentSpan, route: string): Content {
  const { resource, span } = JSON.parse(facts) as Facts;
  const sender = resource.resource.attributes[0]!.value.stringValue;
  const name = whole(span.name);
  return {
    key: whole(`${sender} ${route} ${trace} ${id}`),
    trace,
    name,
    hasEnd: (span.endTimeUnixNano ?? 0) > 0,
  };
}

export const textOf = ({ key, name, hasEnd }: Content): string => `${key} ${name} ${hasEnd}`;

const TIMEOUT_MS = 30_000;
/** What the relay mends nothing in, since MLflow does not see it. */
const UNSEEN = new Set(['future', 'schemaUrl']);
const seen = (key: string, value: unknown) => (UNSEEN.has(key) ? undefined : value);

/** Answers by itself, and notes what must never happen. */
export class WholeUpstream implements Destination {
  readonly name = 'mlflow';
  readonly repair = repairForMlflow;
  readonly probe?: NonNullable<Destination['probe']>;
  readonly wrong: string[] = [];
  /** What it has taken. */
  readonly taken = new Map<string, Content>();
  requests = 0;
  readonly #faults: Faults;
  readonly #random: Random;
  readonly #busy = new Map<number, string>();
  readonly #startedAt = performance.now();

  constructor(faults: Faults, random: Random) {
    this.#faults = faults;
    this.#random = random;
    if (faults.canProbe) this.probe = () => this.#probed();
  }

  targetOf(route: RouteTarget): ResolvedTarget {
    return { key: route.name, description: `experiment ${route.name}` };
  }

  async send({ key }: ResolvedTarget, parts: readonly Uint8Array[], cut: AbortSignal): Promise<SendOutcome> {
    const sent = decode(Buffer.concat(parts));
    const spans = sent.map((span) => contentOf(span, key));
    this.requests++;
    const keys = spans.map((span) => span.key);
    if (new Set(keys).size < keys.length) this.wrong.push(`a span twice in a request: ${keys.join()}`);
    const traces = [...new Set(spans.map(({ trace }) => trace))];
    for (const trace of traces) {
      const other = this.#busy.get(trace);
      if (other !== undefined) this.wrong.push(`trace ${trace} in two requests: ${other} and ${keys.join()}`);
      this.#busy.set(trace, keys.join());
    }
    const outcome = this.#answerTo(sent, spans, traces);
    const isLate = outcome.kind === 'retry' && outcome.tooSlow === true;
    await this.#pass(isLate ? TIMEOUT_MS : 1 + this.#random.below(400));
    for (const trace of traces) this.#busy.delete(trace);
    if (outcome.kind === 'delivered' && !cut.aborted)
      for (const span of spans) this.taken.set(textOf(span), span);
    return outcome;
  }

  async close(): Promise<void> {}

  async #probed(): Promise<SendOutcome> {
    await this.#pass(20);
    const { outcome } = this.#outage() ?? {};
    return outcome === undefined || outcome.kind === 'refused' ? DELIVERED : outcome;
  }

  #pass(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  get #now(): number {
    return performance.now() - this.#startedAt;
  }

  #outage() {
    return this.#faults.outages.find(({ from, to }) => this.#now >= from && this.#now < to);
  }

  #answerTo(sent: readonly SentSpan[], spans: readonly Content[], traces: readonly number[]): SendOutcome {
    const { isTraceFirst, flaky, mostSpans } = this.#faults;
    const outage = this.#outage();
    if (outage !== undefined) return outage.outcome;
    if (this.#random.chance(flaky)) return { kind: 'retry', reason: '503: busy' };
    if (spans.length > mostSpans) return { kind: 'refused', status: 413, reason: '413: too large' };
    const has = (kind: Kind) => spans.some(({ name }) => name.startsWith(kind));
    if (has('poison')) return { kind: 'retry', reason: '503: poison' };
    if (has('slow')) return { kind: 'retry', reason: 'no answer', tooSlow: true };
    const [first, second] = isTraceFirst
      ? [this.#ofTraces(traces), this.#ofSpans(sent, has)]
      : [this.#ofSpans(sent, has), this.#ofTraces(traces)];
    return first ?? second ?? DELIVERED;
  }

  #ofSpans(sent: readonly SentSpan[], has: (kind: Kind) => boolean): SendOutcome | undefined {
    if (has('bad')) return { kind: 'refused', status: 400, reason: '400: bad' };
    if (has('doubted')) return { kind: 'refused', status: 422, reason: '422: bad', doubtful: true };
    const hasNul = sent.some(({ facts }) =>
      JSON.stringify(JSON.parse(facts, seen)).includes(String.raw`\u0000`),
    );
    if (hasNul) return { kind: 'refused', status: 500, reason: '500: NUL', unstorable: 'NUL' };
    return undefined;
  }

  #ofTraces(traces: readonly number[]): SendOutcome | undefined {
    const { gone, naming } = this.#faults;
    const found = gone
      .filter(({ trace, from }) => traces.includes(trace) && this.#now >= from)
      .map(({ trace }) => trace)
      .toSorted((a, b) => a - b);
    if (found.length === 0) return undefined;
    const named = { first: found.slice(0, 1), all: found, none: [] }[naming];
    return {
      kind: 'refused',
      status: 400,
      reason: '400: traces',
      traces: named.map((trace) => traceIdOf(trace)),
    };
  }
}
