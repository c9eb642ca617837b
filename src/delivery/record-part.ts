import { cutSpans } from '../otlp/wire.ts';
import type { PayloadPart } from '../otlp/wire.ts';
import type { Lease } from '../queue/queue.ts';

/** Spans of a record that stand next to each other, and what stands for them on loan. */
export type RecordPart = PayloadPart & {
  readonly lease: Lease;
  /** Position in the record of its first span. */
  readonly first: number;
};

/** What is to be sent of a part: without the spans that had left the record before. Its lease knows them by their place in it. */
export function restOf(part: RecordPart): RecordPart {
  const { lease, payload, spans, first } = part;
  const { left } = lease;
  if (left === undefined && first === 0) return part;
  const kept = [...spans.keys()].filter((at) => left?.has(first + at) !== true);
  const inRecord = (indexes: readonly number[]) => indexes.map((at) => first + kept[at]!);
  const isWhole = kept.length === spans.length;
  const isKept = new Set(isWhole ? [] : kept);
  return {
    lease: {
      ...lease,
      done: (indexes) => lease.done(inRecord(indexes)),
      leave: (indexes) => lease.leave(indexes && inRecord(indexes)),
    },
    payload: isWhole ? payload : cutSpans(payload, (at) => isKept.has(at)),
    spans: isWhole ? spans : kept.map((at) => spans[at]!),
    first,
  };
}
