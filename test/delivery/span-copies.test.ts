import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Batch } from '../../src/delivery/batch.ts';
import { halve } from '../../src/delivery/divide.ts';
import type { Settled } from '../../src/delivery/trace-window.ts';
import { answer, CopiesModel, step, windowOf } from './copies-model.ts';
import type { Copy } from './copies-model.ts';
import { decode } from './support.ts';

function copy(more: Partial<Copy> = {}): Copy {
  return { trace: 1, id: 1, name: 'the span', hasEnd: true, ...more };
}

/** Of each span that was sent, its id and name. */
function sentOf(batch: Batch<unknown> | undefined): string[] {
  const spans = batch?.parts.flatMap(({ payload }) => decode(payload)) ?? [];
  return spans.map(({ id, facts }) => `${id} ${(JSON.parse(facts) as { span: Copy }).span.name}`);
}

/** Of the copies that were settled with another one, the records. */
function settled({ handles, superseded }: Settled<string>) {
  return { handles, superseded: superseded.map(({ held }) => held.handle) };
}

describe('of the copies that wait', () => {
  const snapshot = copy({ name: 'open', hasEnd: false });
  const ended = copy({ name: 'ended' });
  test.each<[string, Copy[], string]>([
    ['the later one goes', [copy({ name: 'first' }), copy({ name: 'second' })], '1 second'],
    ['one with an end goes, though it came first', [ended, snapshot], '1 ended'],
    ['one with an end goes, where it came last', [snapshot, ended], '1 ended'],
    ['the later of two snapshots goes', [snapshot, copy({ name: 'later', hasEnd: false })], '1 later'],
    ['the later one with an end goes', [ended, snapshot, copy({ name: 'again' }), snapshot], '1 again'],
  ])('%s', (_, copies, expected) => {
    for (const asOneRecord of [true, false]) {
      const { window, add, take } = windowOf();
      const records = asOneRecord ? [add(copies)] : copies.map((one) => add([one]));
      const batch = take()!;
      expect(sentOf(batch)).toEqual([expected]);
      expect(take()).toBeUndefined();
      const { handles, superseded } = window.settle(batch, 'delivered');
      expect(handles.toSorted()).toEqual(records);
      expect(superseded).toHaveLength(copies.length - 1);
      expect(window.bytes).toBe(0);
    }
  });

  test('ten thousand are one span in one request, however they came', () => {
    const { window, add, take } = windowOf();
    add(Array.from({ length: 5000 }, () => copy()));
    for (let record = 0; record < 2500; record++) add([copy()]);
    const batch = take()!;
    for (let record = 0; record < 2500; record++) add([copy()]);
    expect(sentOf(batch)).toEqual(['1 the span']);
    const { handles, superseded } = window.settle(batch, 'delivered');
    expect([handles.length, superseded.length]).toEqual([5001, 9999]);
    expect(take()).toBeUndefined();
  });

  test('a copy keeps the trace in order, and in its other spans', () => {
    const { add, take } = windowOf();
    const ids = Array.from({ length: 40 }, (_, id) => id + 1);
    add(ids.map((id) => copy({ id })));
    add(ids.filter((id) => id % 2 === 0).map((id) => copy({ id, name: 'again' })));
    const again = ids.map((id) => `${id} ${id % 2 === 0 ? 'again' : 'the span'}`);
    expect(sentOf(take()).toSorted()).toEqual(again.toSorted());
  });

  test('what another sender has sent is no copy: it goes by itself, when the other one is settled', () => {
    const { window, add, take } = windowOf();
    add([copy({ name: 'of the agent' })]);
    add([copy({ name: 'of the gateway' }), copy({ id: 2, name: 'more' })], 'gateway');
    add([copy({ name: 'of the gateway, again' })], 'gateway');
    const first = take()!;
    expect(sentOf(first)).toEqual(['1 of the agent', '2 more']);
    expect(take()).toBeUndefined();
    window.settle(first, 'delivered');
    const second = take()!;
    expect(sentOf(second)).toEqual(['1 of the gateway, again']);
    expect(window.settle(second, 'delivered').superseded).toHaveLength(1);
    expect(window.bytes).toBe(0);
  });
});

describe('while a span is out', () => {
  test('a copy that is the same is settled with it', () => {
    const { window, add, take } = windowOf();
    add([copy()]);
    const batch = take()!;
    add([copy()]);
    expect(take()).toBeUndefined();
    expect(settled(window.settle(batch, 'delivered'))).toEqual({
      handles: ['record 1', 'record 2'],
      superseded: ['record 2'],
    });
  });

  test('a snapshot that comes late never goes after the end', () => {
    const { window, add, take } = windowOf();
    add([copy({ name: 'ended' })]);
    const batch = take()!;
    add([copy({ name: 'open', hasEnd: false })]);
    expect(settled(window.settle(batch, 'delivered')).superseded).toEqual(['record 2']);
    expect(take()).toBeUndefined();
  });

  test('the end goes after a snapshot, also where the batch is taken apart and its traces are free', () => {
    const { window, add, take } = windowOf();
    add([copy({ name: 'open', hasEnd: false }), copy({ id: 2 })]);
    const [first, second] = halve(window.release(take()!))!;
    add([copy({ name: 'ended' }), copy({ id: 3 })]);
    const other = take()!;
    expect(sentOf(other)).toEqual(['3 the span']);
    window.settle(other, 'delivered');
    window.settle(second, 'delivered');
    expect(take()).toBeUndefined();
    window.settle(first, 'delivered');
    expect(sentOf(take())).toEqual(['1 ended']);
  });

  test('a copy of what goes next takes the place of that, and of no other span of its record', () => {
    const { window, add, take } = windowOf();
    add([copy({ name: 'open', hasEnd: false })]);
    const batch = take()!;
    add([copy({ name: 'ended' }), copy({ id: 2, name: 'beside it' })]);
    add([copy({ id: 3, name: 'between' })]);
    window.settle(batch, 'delivered');
    add([copy({ name: 'ended again' })]);
    const next = take()!;
    expect(sentOf(next).toSorted()).toEqual(['1 ended again', '2 beside it', '3 between']);
    expect(window.settle(next, 'delivered').superseded).toHaveLength(1);
    expect(window.bytes).toBe(0);
  });

  test('after a refusal the best goes of those that are not the same', () => {
    const { window, add, take } = windowOf();
    add([copy({ name: 'other' })]);
    add([copy({ name: 'bad' }), copy({ name: 'bad' })]);
    const batch = take()!;
    expect(sentOf(batch)).toEqual(['1 bad']);
    add([copy({ name: 'bad' })]);
    expect(settled(window.settle(batch, 'dead letter'))).toEqual({
      handles: ['record 2', 'record 3'],
      superseded: ['record 2', 'record 3'],
    });
    const next = take()!;
    expect(sentOf(next)).toEqual(['1 other']);
    expect(settled(window.settle(next, 'delivered'))).toEqual({ handles: ['record 1'], superseded: [] });
    expect(window.bytes).toBe(0);
  });
});

test('whatever copies come while nothing is answered, the best that is taken is shown in the end, and none goes twice in a row', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 3, 1000),
      fc.array(step, { maxLength: 30 }),
      fc.array(answer, { maxLength: 30 }),
      (maxBatchSpans, steps, answers) => {
        const model = new CopiesModel({ maxBatchSpans });
        for (const next of [...steps, ...answers]) model.run(next);
        expect(model.drain()).toEqual({ bytes: 0, spans: 0, records: 0, differences: [] });
      },
    ),
    { numRuns: 500 },
  );
});

test('whatever copies come between the answers, no span is lost, and none is twice in a request', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 3, 1000),
      fc.array(fc.oneof(step, step, answer), { maxLength: 60, size: 'max' }),
      (maxBatchSpans, steps) => {
        const model = new CopiesModel({ maxBatchSpans, goesOn: true });
        for (const next of steps) model.run(next);
        expect(model.drain()).toMatchObject({ bytes: 0, spans: 0, records: 0 });
      },
    ),
    { numRuns: 500 },
  );
});
