import type { TraceId } from '../otlp/record.ts';
import type { Lease } from '../queue/queue.ts';
import { sendersOf } from './batch.ts';
import type { Batch } from './batch.ts';
import type { Consignment } from './retry-line.ts';

/** A trace whose delivery takes long, as people are told of it. */
export type SlowTrace = {
  readonly traceId: TraceId;
  /** One of those that have sent it. */
  readonly sender: string;
  /** What is not delivered of it, as far as it was read. */
  readonly waitingSpans: number;
  /** Since when, in milliseconds since the Unix epoch. */
  readonly since: number;
  /** What is slow, and what to do. */
  readonly reason: string;
};

/** Traces in several requests that are remembered. */
const MOST_TRACES = 1_000;
/** Of these, and of what fails, so many are told of. */
const MOST_TOLD = 10;
/** A trace is told of once its requests have taken so long together. */
const LONG_MS = 30_000;
/** Who waits behind a request for longer than this notices it. */
const SLOW_REQUEST_MS = 1_000;

type LongTrace = {
  readonly sender: string;
  /** When its first request ended, in ms since the Unix epoch. */
  readonly since: number;
  requests: number;
  ms: number;
  /** How long its last request took. */
  lastMs: number;
  waitingSpans: number;
};

/**
 * The traces that are larger than a request, and so go part by part. An upstream may need the longer for each part the
 * more it has of the trace: MLflow reads all of it again. That tells nothing of how it is with others.
 */
export class LongTraces {
  /** The one that went last is the last. */
  readonly #traces = new Map<TraceId, LongTrace>();

  /**
   * A request of this batch has ended, after so long.
   * @param waitingSpans of its trace, if it has one alone, that wait until these are settled
   * @returns whether it was a part of such a trace
   */
  went(batch: Batch<Lease>, waitingSpans: number, ms: number): boolean {
    const [traceId, another] = batch.traces.keys();
    if (traceId === undefined || another !== undefined) return false;
    const known = this.#traces.get(traceId);
    this.#traces.delete(traceId);
    if (waitingSpans === 0) return known !== undefined;
    const [sender = ''] = sendersOf(batch);
    const trace = known ?? { sender, since: Date.now(), requests: 0, ms: 0, lastMs: 0, waitingSpans };
    trace.requests++;
    trace.ms += ms;
    trace.lastMs = ms;
    trace.waitingSpans = waitingSpans;
    this.#traces.set(traceId, trace);
    for (const oldest of this.#traces.keys()) {
      if (this.#traces.size <= MOST_TRACES) break;
      this.#traces.delete(oldest);
    }
    return true;
  }

  /** Whether it is the next part of a trace whose parts take long: others need not wait for it. */
  isSlow({ traces }: Batch<Lease>): boolean {
    if (this.#traces.size === 0 || traces.size !== 1) return false;
    const [traceId = ''] = traces.keys();
    return (this.#traces.get(traceId)?.lastMs ?? 0) > SLOW_REQUEST_MS;
  }

  /** Those to tell of, the longest first. */
  get told(): SlowTrace[] {
    return [...this.#traces]
      .filter(([, { ms }]) => ms >= LONG_MS)
      .toSorted(([, a], [, b]) => b.ms - a.ms)
      .slice(0, MOST_TOLD)
      .map(([traceId, { sender, since, requests, ms, waitingSpans }]) => ({
        traceId,
        sender,
        waitingSpans,
        since,
        reason: `it is larger than a request, and its ${requests} requests so far have taken ${Math.round(ms / 1000)} s, while other traces go on beside it: if it does not come to an end, have its sender make smaller traces, or give the upstream a faster database`,
      }));
  }
}

/** What fails again and again while others are stored, the longest first. @param now of the clock of `since` */
export function failingTraces(failing: Iterable<Consignment>, now: number): SlowTrace[] {
  return [...failing]
    .filter(({ own }) => own !== undefined && own.times > 0)
    .toSorted((a, b) => (a.own?.since ?? now) - (b.own?.since ?? now))
    .slice(0, MOST_TOLD)
    .map(({ batch, own, reason = '' }) => {
      const [traceId = ''] = batch.traces.keys();
      const [sender = ''] = sendersOf(batch);
      return {
        traceId,
        sender,
        waitingSpans: batch.spanCount,
        since: Date.now() - (now - (own?.since ?? now)),
        reason: `${reason}; it has failed ${own?.times ?? 0} times, while other traces were stored: see to what the answer names; if it goes on, its spans become dead letters`,
      };
    });
}
