import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Batch } from '../../src/delivery/batch.ts';
import { TraceWindow } from '../../src/delivery/trace-window.ts';
import type { WindowLimits } from '../../src/delivery/trace-window.ts';
import { indexSpans } from '../../src/otlp/wire.ts';
import { decode, encode, recordOf, traceIdOf } from './support.ts';
import type { SpanSpec } from './support.ts';
import { step, WindowModel } from './window-model.ts';

const LIMITS: WindowLimits = {
  traceWaitMs: 5000,
  maxBatchSpans: 100,
  maxBatchSize: 100_000,
  windowSize: 1_000_000,
};
const START = 1_000_000;

/** A window of records that have a name; times are ms after START. */
function windowOf(limits: Partial<WindowLimits> = {}) {
  const window = new TraceWindow<string>({ ...LIMITS, ...limits });
  return {
    window,
    add(
      handle: string,
      at: number,
      spans: readonly Omit<SpanSpec, 'id'>[],
      target = 'default',
      sender = 'agent',
    ) {
      const { payload } = recordOf(spans);
      const entry = {
        handle,
        sender,
        target: { key: target, description: target },
        payload,
        spans: indexSpans(payload),
      };
      window.add({ ...entry, receivedAt: START + at });
      return payload;
    },
    take: (at = 0, atTail = false) => window.take({ now: START + at, atTail }),
  };
}

function tracesOf(batch: Batch<unknown> | undefined): number[] | undefined {
  return batch && [...batch.traces.keys()].map((id) => Number(`0x${id}`));
}

const joined = (batch: Batch<unknown> | undefined) =>
  Buffer.concat(batch?.parts.map(({ payload }) => payload) ?? []);

describe('when a trace is ready', () => {
  test('its root is there', () => {
    const { add, take } = windowOf();
    add('a', 0, [{ trace: 1 }]);
    expect(take(4999, true)).toBeUndefined();
    add('b', 10, [{ trace: 1, isRoot: true }]);
    expect(tracesOf(take(10))).toEqual([1]);
  });

  test('its root has come before it, no longer ago than traces wait', () => {
    const { window, add, take } = windowOf();
    add('a', 0, [{ trace: 1, isRoot: true }]);
    const first = take(0, true);
    add('late', 5000, [{ trace: 1 }]);
    // Only the part that is out keeps it back.
    expect(take(5000, true)).toBeUndefined();
    window.settle(first!, 'delivered');
    expect(tracesOf(take(5000, true))).toEqual([1]);

    add('b', 6000, [{ trace: 2, isRoot: true }]);
    window.settle(take(6000, true)!, 'delivered');
    add('too late', 11_001, [{ trace: 2 }]);
    expect(take(11_001, true)).toBeUndefined();
    expect(tracesOf(take(16_001, true))).toEqual([2]);
  });

  test('the time of what was read has passed its wait, however little time that took', () => {
    const { add, take } = windowOf();
    add('a', 0, [{ trace: 1 }]);
    add('b', 4999, [{ trace: 2 }]);
    expect(take(4999)).toBeUndefined();
    add('c', 5000, [{ trace: 3 }]);
    expect(tracesOf(take())).toEqual([1]);
    expect(take()).toBeUndefined();
  });

  test('the clock has passed its wait, at the tail only', () => {
    const { window, add, take } = windowOf();
    expect(window.nextReadyAt()).toBeUndefined();
    add('a', 0, [{ trace: 1 }]);
    expect(window.nextReadyAt()).toBe(START + 5000);
    expect(take(60_000, false)).toBeUndefined();
    expect(take(4999, true)).toBeUndefined();
    expect(tracesOf(take(5000, true))).toEqual([1]);
    expect(window.nextReadyAt()).toBeUndefined();
  });

  test('the window is full: the oldest, and as many as make a request', () => {
    const { window, add, take } = windowOf({ windowSize: 10_000, maxBatchSpans: 3 });
    for (let trace = 0; !window.isFull; trace++) add(`${trace}`, trace, [{ trace }]);
    const batches = [take(), take()] as Batch<string>[];
    expect(batches.map(tracesOf)).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    for (const batch of batches) window.settle(batch, 'delivered');
    expect(take()).toBeUndefined();
  });

  test('a clock that was set back keeps nothing waiting, and does not end the waiting of all', () => {
    const { add, take } = windowOf();
    add('a', 3_600_000, [{ trace: 1 }]);
    expect(tracesOf(take(0, true))).toEqual([1]);
    add('b', 0, [{ trace: 2 }]);
    expect(take(1, true)).toBeUndefined();
    add('c', 5000, [{ trace: 3 }]);
    expect(tracesOf(take(5000))).toEqual([2]);
  });
});

describe('what a batch is made of', () => {
  test('a record taken whole is passed as it is', () => {
    const { window, add, take } = windowOf();
    const payload = add('a', 0, [{ trace: 1, isRoot: true }, { trace: 2, isRoot: true }, { trace: 1 }]);
    const batch = take();
    expect(batch?.parts).toHaveLength(1);
    expect(batch?.parts[0]?.payload).toBe(payload);
    expect(batch?.parts).toMatchObject([{ held: { handle: 'a' }, spanIndexes: [0, 1, 2] }]);
    expect(window.settle(batch as Batch<string>, 'delivered').handles).toEqual(['a']);
    expect(window.bytes).toBe(0);
  });

  test('even with a scope in it that has no spans', () => {
    const { window } = windowOf();
    const spans = [{ id: 1, trace: 1, isRoot: true }];
    const scopes = [
      { name: 'empty', spans: [] },
      { name: 'lib', spans },
    ];
    const payload = encode([{ name: 'agent', scopes }]);
    const target = { key: 'a', description: 'a' };
    window.add({
      handle: 'a',
      sender: 'agent',
      target,
      payload,
      spans: indexSpans(payload),
      receivedAt: START,
    });
    expect(window.take({ now: START, atTail: false })?.parts).toMatchObject([{ payload }]);
  });

  test('spans of several traces from one record make one part; parts come in the order of arrival', () => {
    const { add, take } = windowOf();
    add('a', 0, [{ trace: 1 }, { trace: 2 }, { trace: 3 }]);
    add('b', 0, [{ trace: 2, isRoot: true }]);
    add('c', 0, [{ trace: 1, isRoot: true }]);
    const batch = take();
    expect(tracesOf(batch)).toEqual([2, 1]);
    expect(batch?.parts.map(({ held }) => held.handle)).toEqual(['a', 'b', 'c']);
    expect(batch?.parts.map(({ payload }) => decode(payload).map(({ trace }) => trace))).toEqual([
      [1, 2],
      [2],
      [1],
    ]);
  });

  test('a trace that does not fit beside others goes whole in the next', () => {
    const { add, take } = windowOf({ maxBatchSpans: 4 });
    add('a', 0, [{ trace: 1, isRoot: true }, { trace: 1 }, { trace: 1 }]);
    add('b', 0, [{ trace: 2, isRoot: true }, { trace: 2 }]);
    expect(tracesOf(take())).toEqual([1]);
    expect(tracesOf(take())).toEqual([2]);
  });

  test('a trace larger than a request goes part after part, each after the last was released', () => {
    const { window, add, take } = windowOf({ maxBatchSpans: 2 });
    add('a', 0, [{ trace: 1, isRoot: true }, { trace: 1 }, { trace: 1 }]);
    add('b', 0, [{ trace: 1 }, { trace: 1 }]);
    const ids: number[] = [];
    for (const settled of [[], ['a'], ['b']]) {
      const batch = take() as Batch<string>;
      expect(take()).toBeUndefined();
      ids.push(...decode(joined(batch)).map(({ id }) => id));
      expect(window.settle(batch, 'delivered').handles).toEqual(settled);
    }
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    expect(ids).toHaveLength(5);
    expect(take()).toBeUndefined();
  });

  test('a single span over the size limit goes alone', () => {
    const { window, add, take } = windowOf({ maxBatchSize: 2000 });
    add('a', 0, [{ trace: 1, isRoot: true }, { trace: 1, name: 'x'.repeat(5000) }, { trace: 1 }]);
    const sizes: number[] = [];
    for (let batch = take(); batch !== undefined; batch = take()) {
      sizes.push(batch.spanCount, joined(batch).length);
      window.settle(batch, 'delivered');
    }
    expect(sizes).toEqual([1, expect.any(Number), 1, expect.any(Number), 1, expect.any(Number)]);
    expect(sizes[3]).toBeGreaterThan(5000);
  });

  test('traces that share a large resource share requests, also where it is larger than a request', () => {
    const { window, take } = windowOf({ maxBatchSize: 2000 });
    const spans = Array.from({ length: 40 }, (_, id) => ({ id, trace: id, isRoot: true }));
    const payload = encode([{ name: 'x'.repeat(5000), scopes: [{ name: 'lib', spans }] }]);
    const target = { key: 'a', description: 'a' };
    const indexed = indexSpans(payload);
    window.add({ handle: 'a', sender: 'agent', target, payload, spans: indexed, receivedAt: START });
    const counts: number[] = [];
    for (let batch = take(); batch !== undefined; batch = take()) counts.push(batch.spanCount);
    // Half a request is left for them.
    const fit = Math.floor(1000 / Math.max(...indexed.map(({ bytes }) => bytes)));
    for (const count of counts.slice(0, -1)) expect(count).toBeGreaterThanOrEqual(fit);
    expect(counts.reduce((sum, count) => sum + count)).toBe(40);
  });

  test('a sender whose requests cost much takes no more than its turns', () => {
    const { add, take } = windowOf({ maxBatchSize: 50_000 });
    for (let trace = 0; trace < 20; trace++) {
      add(`large ${trace}`, 0, [{ trace, isRoot: true, name: 'x'.repeat(60_000) }], 'default', 'large');
    }
    for (let trace = 100; trace < 120; trace++)
      add(`${trace}`, 0, [{ trace, isRoot: true }], 'default', 'small');
    const batches = Array.from({ length: 4 }, () => tracesOf(take()) ?? []);
    expect(batches.flat().filter((trace) => trace >= 100)).toHaveLength(20);
  });

  test('what is ready of a sender that is apart goes by its name alone, with nothing of others', () => {
    const { window, add, take } = windowOf({ maxBatchSpans: 2 });
    add('a', 0, [{ trace: 1, isRoot: true }], 'default', 'apart');
    add('b', 0, [{ trace: 2, isRoot: true }]);
    window.setApart('apart', true);
    expect(window.hasFullBatch).toBe(false);
    // Of one trace, but each has its own.
    add('c', 0, [{ trace: 3 }], 'default', 'apart');
    add('d', 0, [{ trace: 3, isRoot: true }]);
    expect(tracesOf(take())).toEqual([2, 3]);
    expect(take()).toBeUndefined();
    const batch = window.take({ now: START, atTail: false, only: 'apart' });
    expect(tracesOf(batch)).toEqual([1]);
  });

  test.each([false, true])(
    'a root makes ready what its sender sent before, where that was apart then: %s',
    (wasApart) => {
      const { window, add, take } = windowOf();
      window.setApart('agent', wasApart);
      add('a', 0, [{ trace: 1 }]);
      window.setApart('agent', !wasApart);
      add('b', 1, [{ trace: 1, isRoot: true }]);
      window.setApart('agent', false);
      const batch = take(1)!;
      expect(batch.spanCount).toBe(1);
      window.settle(batch, 'delivered');
      expect(take(1)?.spanCount).toBe(1);
    },
  );

  test('who is apart no longer has its turn, though another is in the middle of a long one', () => {
    const { window, add, take } = windowOf({ maxBatchSpans: 1 });
    window.setApart('apart', true);
    add('b', 0, [{ trace: 100, isRoot: true }], 'default', 'apart');
    for (let trace = 0; trace < 50; trace++) {
      add(`${trace}`, 0, [{ trace, isRoot: true, name: 'x'.repeat(50_000) }]);
    }
    for (let taken = 0; taken < 5; taken++) take();
    window.setApart('apart', false);
    expect([take(), take()].flatMap((batch) => tracesOf(batch))).toContain(100);
  });

  test('a window that is full of what is apart has room for others, and lets their traces wait for their roots', () => {
    const { window, add, take } = windowOf({ windowSize: 10_000 });
    for (let trace = 0; !window.isFull; trace++) add(`${trace}`, 0, [{ trace }], 'default', 'apart');
    window.setApart('apart', true);
    expect(window.isFull).toBe(false);
    add('other', 0, [{ trace: 1000 }]);
    expect(take()).toBeUndefined();
    while (!window.isFull) add('more', 0, [{ trace: 1001 }]);
    expect(window.bytes).toBeGreaterThan(14_000);
    expect(window.bytes).toBeLessThan(17_000);
  });

  test('targets are never mixed, and take turns', () => {
    const { add, take } = windowOf({ maxBatchSpans: 1 });
    for (const trace of [1, 2, 3]) add(`a${trace}`, 0, [{ trace, isRoot: true }], 'a');
    add('b', 0, [{ trace: 4, isRoot: true }], 'b');
    expect([take(), take(), take(), take()].map((batch) => batch?.target.key)).toEqual(['a', 'b', 'a', 'a']);
  });
});

describe('a trace of which a batch is out', () => {
  test('is in no other, and what came late for it is gathered anew', () => {
    const { window, add, take } = windowOf();
    add('a', 0, [{ trace: 1, isRoot: true }]);
    const first = take() as Batch<string>;
    add('b', 1, [
      { trace: 1, isRoot: true },
      { trace: 2, isRoot: true },
    ]);
    expect(tracesOf(take())).toEqual([2]);
    expect(take(60_000, true)).toBeUndefined();
    window.settle(first, 'delivered');
    expect(tracesOf(take())).toEqual([1]);
  });

  test('is in none of another target either', () => {
    const { window, add, take } = windowOf();
    add('a', 0, [{ trace: 1, isRoot: true }], 'a');
    add('b', 0, [{ trace: 1, isRoot: true }], 'b');
    const first = take() as Batch<string>;
    expect(take()).toBeUndefined();
    expect(window.settle(first, 'delivered').handles).toEqual(['a']);
    expect(take()?.target.key).toBe('b');
  });

  test('without end does not keep others from their turn', () => {
    const { window, add, take } = windowOf({ maxBatchSpans: 1 });
    add('a', 0, [{ trace: 1, isRoot: true }, { trace: 1 }, { trace: 1 }]);
    add('b', 0, [{ trace: 2, isRoot: true }]);
    const order: (number[] | undefined)[] = [];
    for (let batch = take(); batch !== undefined; batch = take()) {
      order.push(tracesOf(batch));
      window.settle(batch, 'delivered');
    }
    expect(order).toEqual([[1], [2], [1], [1]]);
  });
});

describe('limits', () => {
  test('a record counts as a whole until its last span is settled, and small spans count for their bookkeeping', () => {
    const { window, add, take } = windowOf({ windowSize: 10_000 });
    const payload = add('a', 0, [
      { trace: 1, isRoot: true },
      { trace: 2, name: 'x'.repeat(3000) },
    ]);
    const full = window.bytes;
    expect(full).toBeGreaterThan(payload.length);
    window.settle(take() as Batch<string>, 'delivered');
    expect(window.bytes).toBe(full);
    expect(window.settle(take(5000, true) as Batch<string>, 'delivered').handles).toEqual(['a']);
    expect(window.bytes).toBe(0);
  });

  test('a record without spans, or a batch released twice, is a bug and throws', () => {
    const { window, add, take } = windowOf();
    expect(() => add('a', 0, [])).toThrow('without spans');
    add('b', 0, [{ trace: 1, isRoot: true }]);
    const batch = take() as Batch<string>;
    window.settle(batch, 'delivered');
    expect(() => window.settle(batch, 'delivered')).toThrow('not out');
  });
});

// So many that anything quadratic would run for minutes.
describe.each([
  ['many traces of one span', (span: number) => span, false],
  ['many traces of one span, a root', (span: number) => span, true],
  ['one trace of many spans', () => 1, false],
])('%s', (_name, traceOf, isRoot) => {
  test('pass through', { timeout: 60_000 }, () => {
    const count = 200_000;
    const window = new TraceWindow<number>({ ...LIMITS, maxBatchSpans: 100, windowSize: Number.MAX_VALUE });
    const target = { key: 'a', description: 'a' };
    const payload = new Uint8Array(0);
    for (let record = 0; record < count; record++) {
      const id = { traceId: traceIdOf(traceOf(record)), idHigh: 1, idLow: record };
      const spans = [{ ...id, isRoot, hasEnd: true, bytes: 0 }];
      // As fast as 20,000 a second: what is remembered of each is forgotten on the way.
      const receivedAt = START + record / 20;
      window.add({ handle: record, sender: 'agent', target, payload, spans, receivedAt });
    }
    let spans = 0;
    let settled = 0;
    for (let batch; (batch = window.take({ now: START + 60_000, atTail: true })) !== undefined;) {
      spans += batch.spanCount;
      settled += window.settle(batch, 'delivered').handles.length;
    }
    expect([spans, settled, window.bytes]).toEqual([count, count, 0]);
  });
});

test('whatever comes, every span goes out once, whole, in order, within the limits, and records settle with their last', () => {
  const limits = fc.record({
    traceWaitMs: fc.constantFrom(0, 1000),
    maxBatchSpans: fc.constantFrom(1, 3, 8, 1000),
    maxBatchSize: fc.constantFrom(300, 1500, 100_000),
    windowSize: fc.constantFrom(2000, 20_000, 1_000_000),
  });
  fc.assert(
    fc.property(limits, fc.array(step, { maxLength: 60 }), (bounds, steps) => {
      const model = new WindowModel(bounds);
      for (const next of steps) model.run(next);
      expect(model.drain()).toEqual({ spans: 0, records: 0, bytes: 0 });
    }),
    { numRuns: 500 },
  );
});
