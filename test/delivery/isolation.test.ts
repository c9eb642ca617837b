import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Batch } from '../../src/delivery/batch.ts';
import { Isolation } from '../../src/delivery/isolation.ts';
import type { Refusal, Seen, Verdict } from '../../src/delivery/isolation.ts';
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
  now = 0;
  #seen: Seen = { begun: 1, delivered: 0, accepted: 0 };
  readonly #isolation: Isolation<string>;

  constructor(batch: Batch<string>, refusal: Refusal, isBad: (id: number) => boolean) {
    this.refusal = refusal;
    this.isBad = isBad;
    this.#isolation = new Isolation(refusal, this.#seen, true);
    this.requests = 1;
    this.#told(this.#isolation.refused({ batch, attempts: 1 }, refusal, this.#about));
  }

  get isDone(): boolean {
    return this.#isolation.isDone;
  }

  get nextAt(): number | undefined {
    return this.#isolation.nextAt(() => true);
  }

  get #about() {
    return { now: this.now, seen: this.#seen };
  }

  /** Another batch was delivered. */
  deliverOther(): void {
    const begun = this.#seen.begun + 1;
    this.#seen = { begun, delivered: begun, accepted: begun };
  }

  /** One that had begun before all others is delivered at last. */
  deliverEarlier(): void {
    this.#seen = { ...this.#seen, delivered: Math.max(this.#seen.delivered, 1), accepted: 1 };
  }

  /** Until it is done, or waits for others. */
  run(): void {
    for (;;) {
      const step = this.#isolation.next(this.now, this.#seen, () => true);
      if (step === undefined) {
        this.#told(this.#isolation.end());
        return;
      }
      const begun = this.#seen.begun + 1;
      this.#seen = { ...this.#seen, begun };
      if (step.kind === 'probe') {
        this.probes++;
        this.#seen = { ...this.#seen, accepted: begun };
        continue;
      }
      this.requests++;
      const { batch } = step.piece;
      if (idsOf(batch).some(this.isBad)) {
        this.#told(this.#isolation.refused(step.piece, this.refusal, this.#about));
      } else {
        this.#seen = { begun, delivered: begun, accepted: begun };
        this.#told(this.#isolation.delivered(step.piece, DELIVERED));
      }
    }
  }

  #told(verdicts: readonly Verdict<string>[]): void {
    for (const verdict of verdicts) {
      if (verdict.kind === 'delivered') this.delivered.push(...idsOf(verdict.piece.batch));
      else for (const { piece } of verdict.spans) this.guilty.push(...idsOf(piece.batch));
    }
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

const SEEN: Seen = { begun: 1, delivered: 0, accepted: 0 };
const ABOUT = { now: 0, seen: SEEN };
const isFree = () => true;

test('a span that is taken once the fault is over was not to blame, however certain the refusal', () => {
  const isolation = new Isolation<string>(DEFINITE, SEEN, true);
  const piece = { batch: batchOf([1]), attempts: 1 };
  isolation.refused(piece, DEFINITE, ABOUT);
  const seen = { begun: 2, delivered: 0, accepted: 2 };
  expect(isolation.next(0, seen, isFree)).toMatchObject({ kind: 'send', piece: { batch: piece.batch } });
  expect(isolation.delivered(piece, DELIVERED)).toEqual([]);
  expect(isolation.end()).toMatchObject([{ kind: 'delivered' }]);
});

test('what was taken of before the refusal, and only answered after it, tells nothing', () => {
  const upstream = new Upstream(batchOf([1]), DOUBTFUL, () => true);
  upstream.deliverEarlier();
  upstream.run();
  expect(upstream).toMatchObject({ requests: 1, guilty: [] });
  upstream.deliverOther();
  upstream.run();
  expect(upstream).toMatchObject({ requests: 2, guilty: [0], isDone: true });
});

test('a span that waits for others to tell goes again ever more seldom, and is delivered when the fault is over', () => {
  let isFault = true;
  const upstream = new Upstream(batchOf([1]), DOUBTFUL, () => isFault);
  for (const wait of [1, 2, 4, 8, 16, 32, 60, 60]) {
    upstream.run();
    expect(upstream.nextAt).toBe(upstream.now + wait * 1000);
    upstream.now += wait * 1000;
  }
  isFault = false;
  upstream.run();
  expect(upstream).toMatchObject({ guilty: [], delivered: [0], isDone: true, nextAt: undefined });
});

test('a suspected span of a trace that is on its way is not waited for, and holds up no other', () => {
  const isolation = new Isolation<string>(DOUBTFUL, SEEN, false);
  isolation.refused({ batch: batchOf([1, 1]), attempts: 1 }, DOUBTFUL, ABOUT);
  const pieces = [0, 1].map(() => {
    const step = isolation.next(0, SEEN, () => true);
    if (step?.kind !== 'send') throw new Error('there is nothing to send');
    isolation.refused(step.piece, DOUBTFUL, ABOUT);
    return step.piece;
  });
  const isOther = (batch: Batch<string>) => batch !== pieces[0]?.batch;
  expect(isolation.nextAt(() => false)).toBeUndefined();
  expect(isolation.nextAt(isOther)).toBe(1000);
  expect(isolation.next(1000, SEEN, isOther)).toEqual({ kind: 'send', piece: pieces[1] });
});

test('where nothing can be probed, a certain refusal of a single span is believed', () => {
  const isolation = new Isolation<string>(DEFINITE, SEEN, false);
  const batch = batchOf([1]);
  expect(isolation.refused({ batch, attempts: 1 }, DEFINITE, ABOUT)).toMatchObject([{ kind: 'guilty' }]);
});

test('a good half is found soon, however many spans in front are bad', () => {
  const upstream = new Upstream(batchOf(Array.from({ length: 100 }, () => 1)), DOUBTFUL, (id) => id < 50);
  upstream.run();
  expect(upstream.isDone).toBe(true);
  expect(upstream.guilty).toHaveLength(50);
});

test('a piece that goes in smaller ones is waited for until all of them are known', () => {
  const isolation = new Isolation<string>(DOUBTFUL, SEEN, true);
  const [whole, first, second] = [batchOf([4]), batchOf([2]), batchOf([2])];
  isolation.add({ batch: whole, attempts: 1 });
  expect(isolation.next(0, SEEN, isFree)).toMatchObject({ kind: 'send', piece: { batch: whole } });
  isolation.divided({ batch: whole, attempts: 1 }, [first, second]);
  isolation.delivered({ batch: first, attempts: 2 }, DELIVERED);
  expect(isolation.next(0, SEEN, isFree)).toBeUndefined();
  expect(isolation.isDone).toBe(false);
  expect(isolation.delivered({ batch: second, attempts: 2 }, DELIVERED)).toMatchObject([
    { piece: { batch: first } },
  ]);
  expect(isolation.isDone).toBe(true);
  expect(isolation.end()).toMatchObject([{ piece: { batch: second } }]);
});

/** Two spans of which the second was refused after the first had been delivered. */
function withControl() {
  const isolation = new Isolation<string>(DOUBTFUL, SEEN, true);
  const [good, bad] = [batchOf([4]), batchOf([1])];
  isolation.add({ batch: bad, attempts: 1 });
  isolation.add({ batch: good, attempts: 1 });
  isolation.next(0, SEEN, isFree);
  isolation.delivered({ batch: good, attempts: 2 }, DELIVERED);
  const seen = { begun: 2, delivered: 2, accepted: 2 };
  isolation.next(0, seen, isFree);
  isolation.refused({ batch: bad, attempts: 2 }, DOUBTFUL, { now: 0, seen: { ...seen, begun: 3 } });
  const control = isolation.next(0, { ...seen, begun: 3 }, isFree);
  expect(control).toMatchObject({ kind: 'send', piece: { batch: good } });
  return { isolation, good };
}

describe('the good piece that is sent once more', () => {
  test('is delivered once, also if it goes in halves then', () => {
    const { isolation, good } = withControl();
    const halves = [batchOf([2]), batchOf([2])] as const;
    isolation.divided({ batch: good, attempts: 3 }, halves);
    const told = halves.flatMap((batch) => isolation.delivered({ batch, attempts: 4 }, DELIVERED));
    expect(told).toMatchObject([{ kind: 'delivered', piece: { batch: halves[0] } }]);
  });

  test('was delivered, whatever is said of it the second time, and does not go a third time', () => {
    const { isolation, good } = withControl();
    expect(isolation.refused({ batch: good, attempts: 3 }, DEFINITE, ABOUT)).toMatchObject([
      { kind: 'delivered', piece: { batch: good } },
    ]);
    expect(isolation.next(0, SEEN, isFree)).toBeUndefined();
  });
});

test('nothing goes while one of its traces is on its way', () => {
  const isolation = new Isolation<string>(DOUBTFUL, SEEN, true);
  isolation.add({ batch: batchOf([1]), attempts: 1 });
  expect(isolation.next(0, SEEN, () => false)).toBeUndefined();
  expect(isolation.next(0, SEEN, isFree)).toBeDefined();
});

test('property: given up at any moment, every span is delivered or guilty, once', () => {
  const moves = fc.array(
    fc.record({ isTaken: fc.boolean(), isOtherTaken: fc.boolean(), later: fc.constantFrom(0, 2000) }),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(spansOfTraces, moves, fc.boolean(), (traces, answers, isOneOut) => {
      const isolation = new Isolation<string>(DOUBTFUL, SEEN, true);
      const told: Verdict<string>[] = [];
      let now = 0;
      let seen = SEEN;
      told.push(...isolation.refused({ batch: batchOf(traces), attempts: 1 }, DOUBTFUL, { now, seen }));
      for (const { isTaken, isOtherTaken, later } of answers) {
        now += later;
        const begun = seen.begun + 1;
        seen = isOtherTaken ? { begun, delivered: begun, accepted: begun } : { ...seen, begun };
        const step = isolation.next(now, seen, isFree);
        if (step?.kind !== 'send') continue;
        if (isTaken) told.push(...isolation.delivered(step.piece, DELIVERED));
        else told.push(...isolation.refused(step.piece, DOUBTFUL, { now, seen }));
      }
      const last = isOneOut ? isolation.next(now, seen, isFree) : undefined;
      told.push(...isolation.giveUp());
      // What is on its way has its own answer.
      expect(isolation.isDone).toBe(last?.kind !== 'send');
      if (last?.kind === 'send') told.push(...isolation.delivered(last.piece, DELIVERED));
      told.push(...isolation.end());
      expect(isolation.isDone).toBe(true);
      const ids = told.flatMap((verdict) =>
        verdict.kind === 'delivered'
          ? idsOf(verdict.piece.batch)
          : verdict.spans.flatMap(({ piece }) => idsOf(piece.batch)),
      );
      expect(sorted(ids)).toEqual(Array.from({ length: total(traces) }, (_, id) => id));
    }),
    { numRuns: 500 },
  );
});
