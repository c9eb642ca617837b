import { setTimeout as pause } from 'node:timers/promises';
import PQueue from 'p-queue';
import { compareSpans } from './compare.ts';
import type { Difference } from './compare.ts';
import type { MlflowReader } from './mlflow-reader.ts';
import type { SentSpan } from './sent-spans.ts';
import type { StoredTrace } from './stored-trace.ts';

/** A trace that the relay has taken; `sentAt` and `deadline` on the clock of performance.now(). */
export type Pending = {
  readonly traceId: string;
  readonly spans: readonly SentSpan[];
  readonly sentAt: number;
  readonly deadline: number;
  /** Nothing was there before under its ids. */
  readonly isNew: boolean;
};

export type StoredOutcome =
  | { readonly kind: 'stored'; readonly trace: StoredTrace; readonly afterMs: number }
  | {
      readonly kind: 'differs';
      readonly trace: StoredTrace;
      readonly afterMs: number;
      readonly differences: readonly Difference[];
    }
  /** `isPartly`: some of it is in MLflow. */
  | { readonly kind: 'not stored' | 'not readable'; readonly reason: string; readonly isPartly: boolean };

export type StoredWaiter = {
  awaitStored(pending: Pending): Promise<StoredOutcome>;
  /**
   * The traces that MLflow has now, with all these spans, and what it shows otherwise. One look at each, and none more
   * where MLflow cannot be asked.
   */
  lookNow(traces: ReadonlyMap<string, readonly SentSpan[]>): Promise<Map<string, readonly Difference[]>>;
};

/** Asking takes from MLflow what storing needs. */
const READERS = 4;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1_000;
/** What was there before under the same ids is replaced by what was sent within this time. */
const SETTLE_MS = 2_000;
/** An experiment that the relay creates is nobody's for a moment. */
const DENIED_MS = 1_000;
/** The last question is to be answered, even by an MLflow that is busy. */
const LEAST_TIMEOUT_MS = 5_000;

/** Waits for traces in MLflow, several at once, and compares them. */
export function createStoredWaiter(reader: MlflowReader): StoredWaiter {
  const reads = new PQueue({ concurrency: READERS });
  /** Of the last word of MLflow, or of the issuer. */
  let denied: { readonly since: number; readonly reason: string } | undefined;

  async function awaitStored({ traceId, spans, sentAt, deadline, isNew }: Pending): Promise<StoredOutcome> {
    let pauseMs = FIRST_PAUSE_MS;
    let wholeAt: number | undefined;
    for (;;) {
      const read = await reads.add(() =>
        reader.read(traceId, Math.max(Math.ceil(deadline - performance.now()), LEAST_TIMEOUT_MS)),
      );
      const now = performance.now();
      const isOver = now + pauseMs > deadline;
      if (read.kind === 'denied') denied = { since: denied?.since ?? now, reason: read.reason };
      else if (read.kind !== 'away') denied = undefined;
      let reason = '';
      if (read.kind === 'trace') {
        const { trace } = read;
        const missing = missingOf(spans, trace);
        if (missing === undefined) {
          wholeAt ??= now;
          const differences = differencesOf(spans, trace);
          const afterMs = wholeAt - sentAt;
          if (differences.length === 0) return { kind: 'stored', trace, afterMs };
          const isSettled = isNew || now - wholeAt > SETTLE_MS;
          if (isOver || isSettled) return { kind: 'differs', trace, afterMs, differences };
        } else reason = missing;
      } else reason = read.reason;
      if (denied !== undefined && (isOver || now - denied.since > DENIED_MS)) {
        return { kind: 'not readable', reason: denied.reason, isPartly: false };
      }
      if (isOver) return { kind: 'not stored', reason, isPartly: read.kind === 'trace' };
      await pause(pauseMs);
      pauseMs = Math.min(pauseMs * 1.5, LONGEST_PAUSE_MS);
    }
  }

  async function lookNow(traces: ReadonlyMap<string, readonly SentSpan[]>) {
    const found = new Map<string, readonly Difference[]>();
    let canAsk = true;
    const looks = [...traces].map(([traceId, spans]) => async () => {
      if (!canAsk) return;
      const read = await reader.read(traceId, LEAST_TIMEOUT_MS);
      if (read.kind === 'away' || read.kind === 'denied') canAsk = false;
      if (read.kind !== 'trace' || missingOf(spans, read.trace) !== undefined) return;
      found.set(traceId, differencesOf(spans, read.trace));
    });
    await reads.addAll(looks);
    return found;
  }

  function differencesOf(spans: readonly SentSpan[], trace: StoredTrace): Difference[] {
    return [...compareSpans(spans, trace.spans), ...placeOf(trace, reader.experimentId())];
  }

  return { awaitStored, lookNow };
}

/** What is not there yet, in words; undefined if nothing is. */
function missingOf(sent: readonly SentSpan[], { spans, state }: StoredTrace): string | undefined {
  const stored = new Set(spans.map(({ spanId }) => spanId));
  const count = sent.filter(({ spanId }) => stored.has(spanId)).length;
  if (count < sent.length) return `MLflow has ${count} of its ${sent.length} spans`;
  const hasRoot = sent.some(({ parentSpanId }) => parentSpanId === '');
  return hasRoot && state === 'IN_PROGRESS' ? 'MLflow takes it for unfinished' : undefined;
}

function placeOf({ experimentId }: StoredTrace, expected: string | undefined): Difference[] {
  return expected === undefined || expected === experimentId
    ? []
    : [{ spanId: '', span: '', what: 'experiment', sent: expected, stored: experimentId }];
}
