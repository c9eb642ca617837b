import { randomUUID } from 'node:crypto';
import type { TraceRecord } from '../otlp/record.ts';
import { cutSpans } from '../otlp/wire.ts';
import type { DeadLetter, Lease } from '../queue/queue.ts';

/* Why a whole record becomes a dead letter without having been sent. */

const UNTRIED =
  'not sent: more spans of this sender are refused than can be looked through, and others have to go on; mend what it sends, then replay this';
export const ENDED_RELAY =
  'not sent: the relay ended twice in a row while it worked on this record: by a bug, for want of memory, or because it was killed; replay it once, and if the relay ends at it again, please report it, with this letter';
export const UNREADABLE = 'this relay could not read the record that it had accepted';

/**
 * A letter of a record, as it came, that was not sent: nothing looks into it. Where spans had left it before, it was read
 * without harm, and its letter has the others.
 */
export function letterOfWhole(lease: Lease, destination: string, reason: string): DeadLetter {
  const record = remainderOf(lease);
  return {
    ...record,
    ...lease.leave(),
    reason,
    id: randomUUID(),
    destination,
    target: `route ${record.route.name}`,
    status: undefined,
    repaired: undefined,
    attempts: 0,
    refusedAt: Date.now(),
  };
}

function remainderOf({ record, left }: Lease): TraceRecord {
  if (left === undefined) return record;
  try {
    const payload = cutSpans(record.payload, (spanIndex) => !left.has(spanIndex));
    return { ...record, payload, spanCount: record.spanCount - left.size };
  } catch {
    return record; // it may be what cannot be read
  }
}

/** What is made letters of together, at least one record of whatever size. */
export const UNTRIED_TOGETHER = { records: 64, bytes: 4 * 1024 * 1024 } as const;

export function untriedLetters(leases: readonly Lease[], destination: string): DeadLetter[] {
  return leases.map((lease) => letterOfWhole(lease, destination, UNTRIED));
}
