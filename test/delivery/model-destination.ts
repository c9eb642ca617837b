import { DELIVERED } from './dispatcher-support.ts';
import type { Destination, ResolvedTarget, SendOutcome } from '../../src/destinations/destination.ts';
import type { RouteTarget } from '../../src/otlp/record.ts';
import { decode } from './support.ts';
import type { SentSpan } from './support.ts';

/** What becomes of a request, and after how long. */
export type ModelOutcome = { readonly ms: number; readonly outcome: SendOutcome };

export type ModelRequest = {
  readonly spans: readonly SentSpan[];
  /** Whether a span is in it that was made with the name `marked`. */
  readonly isMarked: boolean;
  /** Requests that are under way beside it. */
  readonly others: number;
};

export const UNAVAILABLE: SendOutcome = { kind: 'retry', reason: 'http://mlflow answers 503 (busy)' };

/** An upstream that answers by itself, as its model says. Notes when a trace is in two requests at once. */
export class ModelDestination implements Destination {
  readonly name = 'mlflow';
  /** By id, in the order in which they were stored first. */
  readonly stored = new Map<number, { readonly at: number }>();
  requests = 0;
  failures = 0;
  /** Traces that were in two requests at once. */
  readonly overlaps = new Set<number>();
  isThere = true;
  #underWay = 0;
  model: (request: ModelRequest) => ModelOutcome;
  readonly #busy = new Set<number>();

  constructor(model: (request: ModelRequest) => ModelOutcome) {
    this.model = model;
  }

  targetOf(route: RouteTarget): ResolvedTarget {
    return { key: route.name, description: `experiment ${route.name}` };
  }

  async send(_target: ResolvedTarget, parts: readonly Uint8Array[]): Promise<SendOutcome> {
    const spans = decode(Buffer.concat(parts));
    const traces = new Set(spans.map(({ trace }) => trace));
    for (const trace of traces) if (this.#busy.has(trace)) this.overlaps.add(trace);
    for (const trace of traces) this.#busy.add(trace);
    this.requests++;
    const isMarked = spans.some(({ facts }) => facts.includes('marked'));
    const { ms, outcome } = this.model({ spans, isMarked, others: this.#underWay++ });
    await new Promise((resolve) => setTimeout(resolve, ms));
    this.#underWay--;
    for (const trace of traces) this.#busy.delete(trace);
    if (outcome.kind === 'delivered') {
      for (const { id } of spans) if (!this.stored.has(id)) this.stored.set(id, { at: Date.now() });
    } else {
      this.failures++;
    }
    return outcome;
  }

  async probe(): Promise<SendOutcome> {
    return this.isThere ? DELIVERED : { kind: 'retry', reason: 'connection refused' };
  }

  async close(): Promise<void> {}
}
