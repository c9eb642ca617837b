import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Batch } from '../../src/delivery/batch.ts';
import { Isolation } from '../../src/delivery/isolation.ts';
import type { Refusal, Verdict } from '../../src/delivery/isolation.ts';
import { batchOf, idsOf } from './batches.ts';

const DELIVERED = { kind: 'delivered', rejectedSpans: 0 } as const;
const DEFINITE: Refusal = { kind: 'refused', status: 400, reason: 'bad' };
const DOUBTFUL: Refusal = { kind: 'refused', status: 422, reason: 'failed', doubtful: true };

/** An upstream that refuses what has a bad span in it, and a caller that does as the isolation says. */
class Upstream {
  readonly refusal: Refusal;
  readonly isBad: (id: number) => boolean;
  readonly delivered: number[] = [];
  readonly guilty: number[] = [];
  requests = 0;
  probes = 0;
  #seen = { deliveries: 0, acceptances: 0 };
  readonly #isolation: Isolation<string>;

  constructor(batch: Batch<string>, refusal: Refusal, isBad: (id: number) => boolean) {
    this.refusal = refusal;
    this.isBad = isBad;
    this.#isolation = new Isolation(refusal, this.#seen, true);
    this.requests = 1;
    this.#told(this.#isolation.refused({ batch, attempts: 1 }, refusal, this.#seen));
  }

  get isDone(): boolean {
    return this.#isolation.isDone;
  }

  /** Another batch was delivered. */
  deliverOther(): void {
    const { deliveries, acceptances } = this.#seen;
    this.#seen = { deliveries: deliveries + 1, acceptances: acceptances + 1 };
  }

  /** Until it is done, or waits for others. */
  run(): void {
    for (;;) {
      const step = this.#isolation.next(this.#seen, () => true);
      if (step === undefined) {
        this.#told(this.#isolation.end());
        return;
      }
      if (step.kind === 'probe') {
        this.probes++;
        this.#seen = { ...this.#seen, acceptances: this.#seen.acceptances + 1 };
        continue;
      }
      this.requests++;
      const { batch } = step.piece;
      if (idsOf(batch).some(this.isBad)) {
        this.#told(this.#isolation.refused(step.piece, this.refusal, this.#seen));
      } else {
        this.deliverOther();
        this.#told(this.#isolation.delivered(step.piece, DELIVERED));
      }
    }
  }

  #told(verdicts: readonly Verdict<string>[]): void {
    for (const { kind, piece } of verdicts) this[kind].push(...idsOf(piece.batch));
  }
}

const spansOfTraces = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 20 });
const total = (spans: readonly number[]) => spans.reduce((sum, count) => sum + count, 0);
const sorted = (ids: readonly number[]) => ids.toSorted((a, b) => a - b);
const levels = (count: number) => Math.ceil(Math.log2(count));

describe('of a refused batch', () => {
  test('one bad span is found in 2·(⌈log2 traces⌉ + ⌈log2 spans⌉) + 2 requests, and all others are delivered', () => {
    fc.assert(
      fc.property(spansOfTraces, fc.nat(), fc.constantFrom(DEFINITE, DOUBTFUL), (traces, which, refusal) => {
        const all = total(traces);
        const bad = which % all;
        const upstream = new Upstream(batchOf(traces), refusal, (id) => id === bad);
        upstream.run();
        // Who has sent nothing else cannot be told from a fault of the store.
        fc.pre(all > 1 || refusal === DEFINITE);
        expect(upstream.isDone).toBe(true);
        expect(upstream.guilty).toEqual([bad]);
        expect(sorted(upstream.delivered)).toEqual(
          Array.from({ length: all }, (_, id) => id).filter((id) => id !== bad),
        );
        let before = 0;
        const mine = traces.find((count) => (before += count) > bad) ?? 1;
        // A known good piece is sent once more where no other told that the upstream stores spans.
        const control = refusal === DOUBTFUL ? 1 : 0;
        expect(upstream.requests).toBeLessThanOrEqual(
          2 * (levels(traces.length) + levels(mine)) + 2 + control,
        );
      }),
      { numRuns: 300 },
    );
  });

  test('whatever spans are bad, they alone are to blame, and each other span is delivered once', () => {
    fc.assert(
      fc.property(
        spansOfTraces,
        fc.array(fc.boolean(), { minLength: 1, maxLength: 30 }),
        fc.constantFrom(DEFINITE, DOUBTFUL),
        (traces, pattern, refusal) => {
          const ids = Array.from({ length: total(traces) }, (_, id) => id);
          const isBad = (id: number) => pattern[id % pattern.length] === true;
          fc.pre(ids.some(isBad));
          const upstream = new Upstream(batchOf(traces), refusal, isBad);
          upstream.run();
          for (let others = 0; !upstream.isDone && others < 2 * ids.length; others++) {
            upstream.deliverOther();
            upstream.run();
          }
          expect(upstream.isDone).toBe(true);
          expect(sorted(upstream.guilty)).toEqual(ids.filter(isBad));
          expect(sorted(upstream.delivered)).toEqual(ids.filter((id) => !isBad(id)));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('no span is to blame while everything is refused in the same doubtful way', () => {
    const upstream = new Upstream(batchOf([3, 1, 2]), DOUBTFUL, () => true);
    upstream.run();
    upstream.run();
    expect(upstream.guilty).toEqual([]);
    expect(upstream.isDone).toBe(false);
  });

  test('a span that was refused for certain is to blame if it is refused again after a probe was taken', () => {
    const upstream = new Upstream(batchOf([1]), DEFINITE, () => true);
    expect(upstream.guilty).toEqual([]);
    upstream.run();
    expect(upstream).toMatchObject({ guilty: [0], probes: 1, requests: 2, isDone: true });
  });
});

test('a span that is taken once the fault is over was not to blame, however certain the refusal', () => {
  const isolation = new Isolation<string>(DEFINITE, { deliveries: 0, acceptances: 0 }, true);
  const piece = { batch: batchOf([1]), attempts: 1 };
  isolation.refused(piece, DEFINITE, { deliveries: 0, acceptances: 0 });
  const seen = { deliveries: 0, acceptances: 1 };
  expect(isolation.next(seen, () => true)).toMatchObject({ kind: 'send', piece: { batch: piece.batch } });
  expect(isolation.delivered(piece, DELIVERED)).toEqual([]);
  expect(isolation.end()).toMatchObject([{ kind: 'delivered' }]);
});

test('where nothing can be probed, a certain refusal of a single span is believed', () => {
  const isolation = new Isolation<string>(DEFINITE, { deliveries: 0, acceptances: 0 }, false);
  const batch = batchOf([1]);
  const seen = { deliveries: 0, acceptances: 0 };
  expect(isolation.refused({ batch, attempts: 1 }, DEFINITE, seen)).toMatchObject([{ kind: 'guilty' }]);
});

test('a piece that goes in smaller ones is waited for until all of them are known', () => {
  const seen = { deliveries: 0, acceptances: 0 };
  const isolation = new Isolation<string>(DOUBTFUL, seen, true);
  const [whole, first, second] = [batchOf([4]), batchOf([2]), batchOf([2])];
  isolation.add({ batch: whole, attempts: 1 });
  const step = isolation.next(seen, () => true);
  expect(step).toMatchObject({ kind: 'send', piece: { batch: whole } });
  isolation.divided({ batch: whole, attempts: 1 }, [first, second]);
  isolation.delivered({ batch: first, attempts: 2 }, DELIVERED);
  expect(isolation.next(seen, () => true)).toBeUndefined();
  expect(isolation.isDone).toBe(false);
  expect(isolation.delivered({ batch: second, attempts: 2 }, DELIVERED)).toMatchObject([
    { piece: { batch: first } },
  ]);
  expect(isolation.isDone).toBe(true);
  expect(isolation.end()).toMatchObject([{ piece: { batch: second } }]);
});

test('nothing goes while one of its traces is on its way', () => {
  const seen = { deliveries: 0, acceptances: 0 };
  const isolation = new Isolation<string>(DOUBTFUL, seen, true);
  isolation.add({ batch: batchOf([1]), attempts: 1 });
  expect(isolation.next(seen, () => false)).toBeUndefined();
  expect(isolation.next(seen, () => true)).toBeDefined();
});
