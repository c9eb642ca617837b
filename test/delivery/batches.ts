import type { Batch } from '../../src/delivery/batch.ts';
import { TraceWindow } from '../../src/delivery/trace-window.ts';
import { indexSpans } from '../../src/otlp/wire.ts';
import { decode, encode } from './support.ts';

const LIMITS = { traceWaitMs: 0, maxBatchSpans: 1e6, maxBatchSize: 1e9, windowSize: 1e9 };

/**
 * A batch of so many spans of each trace, whose ids are numbered from 0 in the order of traces; the spans of a trace
 * are spread over three records.
 */
export function batchOf(spansOfTraces: readonly number[]): Batch<string> {
  const window = new TraceWindow<string>(LIMITS);
  let lastId = -1;
  const spans = spansOfTraces.flatMap((count, trace) =>
    Array.from({ length: count }, () => ({ id: ++lastId, trace, isRoot: true })),
  );
  for (const record of [0, 1, 2]) {
    const mine = spans.filter(({ id }) => id % 3 === record);
    if (mine.length === 0) continue;
    const payload = encode([{ name: `service ${record}`, scopes: [{ name: 'lib', spans: mine }] }]);
    window.add({
      handle: `record ${record}`,
      sender: 'agent',
      target: { key: 'a', description: 'experiment a' },
      payload,
      spans: indexSpans(payload),
      receivedAt: 0,
    });
  }
  const batch = window.take({ now: 1, atTail: true });
  if (batch === undefined) throw new Error('there is no batch of no spans');
  return batch;
}

/** The ids of its spans, ascending. */
export function idsOf(batch: Batch<unknown>): number[] {
  return batch.parts.flatMap(({ payload }) => decode(payload).map(({ id }) => id)).toSorted((a, b) => a - b);
}
