import { expect } from 'vitest';
import { asStored } from '../../e2e/support/traces.ts';
import type { MlflowClient, StoredSpan } from '../../stack/mlflow-client.ts';
import type { AnsweredRequest, CountingTap } from './counting-tap.ts';
import type { LoadRequest } from './load.ts';

/** How many traces are read back at once, and at most: of more, every second or third, and so on. */
const READERS = 4;
const MOST_READ = 400;

export function spanKey({ traceId, spanId }: StoredSpan): string {
  return `${traceId}/${spanId}`;
}

/**
 * Every acknowledged trace is in MLflow, and no other than those that were sent; in those that are read back is every
 * acknowledged span, as it was sent, and no other than was sent. What was sent and not acknowledged may be there.
 */
export async function expectKept(
  mlflow: MlflowClient,
  experimentId: string,
  requests: readonly LoadRequest[],
): Promise<void> {
  const sent = new Map<string, Map<string, StoredSpan>>();
  const acknowledged = new Map<string, string[]>();
  for (const request of requests) {
    for (const span of request.spans) {
      const ofTrace = sent.get(span.traceId) ?? new Map<string, StoredSpan>();
      sent.set(span.traceId, ofTrace.set(span.spanId, span));
      if (!request.acknowledged) continue;
      acknowledged.set(span.traceId, [...(acknowledged.get(span.traceId) ?? []), span.spanId]);
    }
  }
  const stored = await mlflow.searchTraces(experimentId);
  const ids = new Set(stored);
  expect([...acknowledged.keys()].filter((id) => !ids.has(id))).toEqual([]);
  expect(stored.filter((id) => !sent.has(id))).toEqual([]);
  expect(stored).toHaveLength(ids.size);

  const step = Math.ceil(stored.length / MOST_READ);
  const left = stored.filter((_, index) => index % step === 0);
  const read = async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      const spans = (await mlflow.getTrace(id))?.spans ?? [];
      const found = new Set(spans.map(({ spanId }) => spanId));
      const missing = (acknowledged.get(id) ?? []).filter((spanId) => !found.has(spanId));
      expect({ trace: id, missing }).toEqual({ trace: id, missing: [] });
      const ofTrace = sent.get(id);
      for (const span of spans) expect([span]).toEqual(asStored([ofTrace?.get(span.spanId) ?? span]));
      expect(spans.filter(({ spanId }) => !ofTrace?.has(spanId))).toEqual([]);
    }
  };
  await Promise.all(Array.from({ length: READERS }, read));
}

/** Counts, at each call, the spans that MLflow has said 2xx to, each once. */
export function deliveredCount({ requests }: Pick<CountingTap, 'requests'>): () => number {
  const delivered = new Set<string>();
  let seen = 0;
  return () => {
    for (const answer of requests.slice(seen)) {
      if (isDelivered(answer)) for (const key of answer.spans) delivered.add(key);
    }
    seen = requests.length;
    return delivered.size;
  };
}

/** Acknowledged spans that MLflow has not said 2xx to. */
export function undelivered(
  requests: readonly LoadRequest[],
  answered: readonly AnsweredRequest[],
): string[] {
  const delivered = new Set(answered.filter(isDelivered).flatMap(({ spans }) => spans));
  return requests
    .filter((request) => request.acknowledged)
    .flatMap(({ spans }) => spans.map(spanKey))
    .filter((key) => !delivered.has(key));
}

export type Repeated = {
  /** Deliveries of spans that had been delivered before. */
  readonly spans: number;
  /** Of the requests, as they were sent, in which those spans had come: what the relay has read twice. */
  readonly bytes: number;
};

/**
 * What was delivered again, by the period in which it was.
 * Requests that went out twice are left out: the relay may rightly have them twice.
 * @param ends how many answers there were when each period ended; the last one ends with all of them
 */
export function repeatedBy(
  ends: readonly number[],
  requests: readonly LoadRequest[],
  answered: readonly AnsweredRequest[],
): Repeated[] {
  const origin = new Map<string, LoadRequest>();
  for (const request of requests) {
    if (request.attempts > 1) continue;
    for (const span of request.spans) origin.set(spanKey(span), request);
  }
  const delivered = new Set<string>();
  const periods: Repeated[] = [];
  let from = 0;
  for (const end of [...ends, answered.length]) {
    let spans = 0;
    const again = new Set<LoadRequest>();
    for (const key of answered
      .slice(from, end)
      .filter(isDelivered)
      .flatMap((answer) => answer.spans)) {
      const request = origin.get(key);
      if (request !== undefined && delivered.has(key)) {
        spans++;
        again.add(request);
      }
      delivered.add(key);
    }
    periods.push({ spans, bytes: [...again].reduce((sum, { body }) => sum + body.length, 0) });
    from = end;
  }
  return periods;
}

/** The largest of these requests, in bytes: a limit may be passed by one of them. */
export function largest(requests: readonly LoadRequest[]): number {
  return requests.reduce((max, { body }) => Math.max(max, body.length), 0);
}

function isDelivered({ status }: AnsweredRequest): boolean {
  return status >= 200 && status < 300;
}
