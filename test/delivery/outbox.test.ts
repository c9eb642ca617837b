import { describe, expect, test } from 'vitest';
import type { Batch } from '../../src/delivery/batch.ts';
import { halve } from '../../src/delivery/divide.ts';
import { Isolation } from '../../src/delivery/isolation.ts';
import { Outbox } from '../../src/delivery/outbox.ts';
import type { Work } from '../../src/delivery/outbox.ts';
import { newConsignment } from '../../src/delivery/retry-line.ts';
import { SharedFaults } from '../../src/delivery/shared-faults.ts';
import { TraceWindow } from '../../src/delivery/trace-window.ts';
import { indexSpans } from '../../src/otlp/wire.ts';
import type { Lease } from '../../src/queue/queue.ts';
import { batchOf } from './batches.ts';
import { recordOf } from './support.ts';

const LIMITS = { traceWaitMs: 0, maxBatchSpans: 1, maxBatchSize: 1e6, windowSize: 1e9 };
const SEEN = { begun: 1, delivered: 0, accepted: 0 };
const REFUSAL = { kind: 'refused', status: 422, reason: 'failed', doubtful: true } as const;
const PAUSE = { now: 0, condition: 'retrying', after: 0, answers: 0 } as const;

const batch = (spansOfTraces: readonly number[]) => batchOf(spansOfTraces) as unknown as Batch<Lease>;

/** An outbox with so many good batches, of one span each. */
function outboxOf(good: number) {
  const window = new TraceWindow<Lease>(LIMITS);
  for (let trace = 0; trace < good; trace++) {
    const record = recordOf([{ trace: 1000 + trace, isRoot: true }]);
    window.add({
      handle: {
        record,
        left: undefined,
        leave: () => ({ origins: [], onKept: () => {} }),
        done() {},
        settle() {},
        isSuspect: false,
        inHand() {},
        outOfHand() {},
        again: async () => undefined,
      },
      sender: record.sender,
      target: { key: 'a', description: 'experiment a' },
      payload: record.payload,
      spans: indexSpans(record.payload),
      receivedAt: 0,
    });
  }
  const sizing = { limits: LIMITS };
  return new Outbox({
    window,
    sizing,
    reader: { hasOthers: () => false },
    isSlow: () => false,
    mostAtOnce: () => 2,
    intake: { isAtTail: true, isStuck: false },
    sharedFaults: new SharedFaults(undefined),
    random: () => 0,
  });
}

/** A refused batch of so many traces, whose pieces are to be sent. */
function isolationOf(traces: number): Isolation<Lease> {
  const isolation = new Isolation<Lease>(REFUSAL, SEEN, true);
  const whole = batch(Array.from({ length: traces }, () => 1));
  isolation.refused({ batch: whole, attempts: 1 }, REFUSAL, { now: 0, seen: SEEN });
  return isolation;
}

const isPiece = (work: Work | undefined) =>
  work?.kind === 'batch' && work.consignment.isolation !== undefined;

describe('pieces of refused batches', () => {
  test('go after three good batches, and at once where there is none', () => {
    const outbox = outboxOf(4);
    outbox.isolate('agent', isolationOf(8));
    const order = Array.from({ length: 5 }, () => {
      const work = outbox.next(0, true, SEEN);
      if (isPiece(work)) outbox.ended(work as Work);
      return isPiece(work) ? 'piece' : 'good';
    });
    expect(order).toEqual(['good', 'good', 'good', 'piece', 'good']);
    const idle = outboxOf(0);
    idle.isolate('agent', isolationOf(8));
    expect(isPiece(idle.next(0, true, SEEN))).toBe(true);
  });

  test('are one at a time, also of several batches', () => {
    const outbox = outboxOf(0);
    outbox.isolate('agent', isolationOf(8));
    outbox.isolate('agent', isolationOf(8));
    const first = outbox.next(0, true, SEEN);
    expect(isPiece(first)).toBe(true);
    expect(outbox.next(0, true, SEEN)).toBeUndefined();
    outbox.ended(first as Work);
    expect(isPiece(outbox.next(0, true, SEEN))).toBe(true);
  });

  test('wait for their allowance, and the outbox says until when', () => {
    const outbox = outboxOf(0);
    for (let extra = 0; extra < 40; extra++) {
      // Each of another batch: an outcome that is not known holds up its own.
      outbox.isolate('agent', isolationOf(2));
      const work = outbox.next(0, true, SEEN);
      expect(isPiece(work)).toBe(true);
      outbox.ended(work as Work);
    }
    outbox.isolate('agent', isolationOf(2));
    expect(outbox.next(0, true, SEEN)).toBeUndefined();
    const at = outbox.nextAt(0) ?? 0;
    expect(at).toBeCloseTo(50);
    expect(isPiece(outbox.next(at, true, SEEN))).toBe(true);
  });
});

const HALVES = { isTooMuch: true, isAlone: false };

describe('halves of a batch that took too long', () => {
  test('of one trace are never on their way together, and nobody is woken for the one that has to wait', () => {
    const outbox = outboxOf(0);
    outbox.retry(newConsignment(batch([4])), PAUSE, HALVES);
    const first = outbox.next(10_000, true, SEEN);
    expect(first).toMatchObject({ kind: 'batch', consignment: { isPiece: true, batch: { spanCount: 2 } } });
    expect(outbox.next(10_000, true, SEEN)).toBeUndefined();
    expect(outbox.nextAt(10_000)).toBeUndefined();
    outbox.ended(first as Work);
    expect(outbox.next(10_000, true, SEEN)).toMatchObject({ consignment: { batch: { spanCount: 2 } } });
  });

  test('of several traces may go together', () => {
    const outbox = outboxOf(0);
    outbox.retry(newConsignment(batch([2, 2])), PAUSE, HALVES);
    expect(outbox.next(10_000, true, SEEN)).toBeDefined();
    expect(outbox.next(10_000, true, SEEN)).toBeDefined();
  });

  test('of a piece hold up what it is a piece of until both are known', () => {
    const outbox = outboxOf(0);
    const isolation = isolationOf(4);
    outbox.isolate('agent', isolation);
    const work = outbox.next(0, true, SEEN) as Extract<Work, { kind: 'batch' }>;
    outbox.ended(work);
    outbox.retry(work.consignment, PAUSE, HALVES);
    expect(outbox.next(0, true, SEEN)).toBeUndefined();
    const halves = [outbox.next(10_000, true, SEEN), outbox.next(10_000, true, SEEN)];
    for (const half of halves) {
      expect(isPiece(half)).toBe(true);
      const { consignment } = half as typeof work;
      outbox.ended(half as Work);
      isolation.delivered({ batch: consignment.batch, attempts: 1 }, { kind: 'delivered', rejectedSpans: 0 });
    }
    expect(isPiece(outbox.next(20_000, true, SEEN))).toBe(true);
  });

  test('a single span has none', () => {
    expect(halve(batch([1]))).toBeUndefined();
  });
});
