import { describe, expect, test } from 'vitest';
import { seeded } from '../fault/support/random.ts';
import { deliver, DELIVERED, quiet, useTimeOfTest, valueOf, whole } from './dispatcher-support.ts';
import { decode, encode, recordOf } from './support.ts';
import type { Call } from './support.ts';
import {
  about,
  everything,
  isOdd,
  naming,
  namingAll,
  namingNone,
  numbers,
  recordOfTraces,
  run,
  sorted,
  tracesOfLetters,
} from './trace-refusals-support.ts';
import type { Script } from './trace-refusals-support.ts';

useTimeOfTest();

describe('a trace that the upstream names', () => {
  test('is taken out, and the rest goes at once, whole; the letter says why', async () => {
    const setting = deliver();
    const { queue, destination, deadLetters, metrics } = setting;
    queue.append(
      recordOf([
        { trace: 1, isRoot: true },
        { trace: 2 },
        { trace: 2, isRoot: true },
        { trace: 3, isRoot: true },
      ]),
    );
    await run(
      setting,
      naming((trace) => trace === 2),
      1,
    );
    expect(destination.calls.map(({ traces }) => traces)).toEqual([
      [1, 2, 3],
      [1, 3],
    ]);
    expect(deadLetters.letters).toMatchObject([
      { spanCount: 2, reason: 'trace 2 is elsewhere', status: 400, attempts: 1, isOfTrace: true },
    ]);
    expect(tracesOfLetters(setting)).toEqual([2, 2]);
    expect(await valueOf(metrics.deliveredSpans)).toBe(2);
  });

  test('is one of 200 among 1,000 spans of a batch: about as many requests, and the others are delivered', async () => {
    const setting = deliver({ maxBatchSpans: 1000 });
    const traces = numbers(1000);
    const { below } = seeded(1);
    const left = [...traces];
    const foreign = new Set(Array.from({ length: 200 }, () => left.splice(below(left.length), 1)[0]));
    setting.queue.append(recordOfTraces(traces));
    const states = await run(
      setting,
      naming((trace) => foreign.has(trace)),
      1,
    );
    expect(setting.destination.calls.length).toBeGreaterThan(200);
    expect(setting.destination.calls.length).toBeLessThanOrEqual(250);
    expect(sorted(tracesOfLetters(setting))).toEqual(traces.filter((trace) => foreign.has(trace)));
    expect(
      setting.deadLetters.letters.every(
        ({ payload, reason }) => reason === `trace ${decode(payload)[0]?.trace} is elsewhere`,
      ),
    ).toBe(true);
    expect(await valueOf(setting.metrics.deliveredSpans)).toBe(800);
    expect(states).not.toContain('blocked');
    expect(states).not.toContain('retrying');
  });

  test('is told once where all are named in one answer', async () => {
    const setting = deliver({ maxBatchSpans: 1000 });
    setting.queue.append(recordOfTraces(numbers(300)));
    await run(setting, namingAll(isOdd), 1);
    expect(setting.destination.calls.map(({ traces }) => traces.length)).toEqual([300, 150]);
    expect(sorted(tracesOfLetters(setting))).toEqual(numbers(300).filter(isOdd));
  });

  test('is nobody’s fault: where every trace is refused so, nothing is blocked, and no sender is apart', async () => {
    const setting = deliver({ maxBatchSpans: 20 });
    const records = Array.from({ length: 100 }, (_, trace) =>
      recordOfTraces([3 * trace, 3 * trace + 1], `sender ${trace % 2}`),
    );
    setting.queue.append(...records);
    const states = await run(setting, naming(everything), records.length, 3600);
    expect([...states]).toEqual(['unknown', 'up']);
    expect(setting.delivery.state().reason).toBeUndefined();
    expect(setting.destination.calls.length).toBeLessThanOrEqual(200 + 20);
    expect(setting.queue.heldSenders.size).toBe(0);
    setting.queue.append(whole(1000));
    await run(setting, () => DELIVERED, records.length + 1);
  });

  test('does not hold up what others have sent in the same batch', async () => {
    const setting = deliver({ maxInFlight: 1 });
    const { queue, destination } = setting;
    queue.append(whole(100));
    const busy = await destination.nextCall();
    queue.append(recordOfTraces([1, 3, 5, 7], 'a'), recordOfTraces([2, 4, 6, 8], 'b'));
    await quiet();
    busy.answer(DELIVERED);
    await run(setting, naming(isOdd), 3);
    expect(destination.calls.slice(1, 4).map(({ traces }) => sorted(traces))).toEqual([
      numbers(8),
      [2, 4, 6, 8],
      [3, 5, 7],
    ]);
  });

  test('takes turns with what is new', async () => {
    const setting = deliver({ maxInFlight: 1 });
    const { queue, destination } = setting;
    queue.append(recordOfTraces(numbers(50)));
    const script = naming((trace) => trace <= 50);
    (await destination.nextCall()).answer(script(destination.calls[0] as Call));
    queue.append(whole(100), whole(101));
    await run(setting, script, 3);
    const good = destination.calls.findIndex(({ traces }) => traces.includes(100));
    expect(good).toBeLessThanOrEqual(3);
  });

  test('is one letter for many, where each would have a copy of a large resource', async () => {
    const setting = deliver({ maxBatchSize: 1_000_000 });
    const spans = numbers(50).map((id) => ({ id, trace: id, isRoot: true }));
    const payload = encode([{ name: 'x'.repeat(20_000), scopes: [{ name: 'lib', spans }] }]);
    setting.queue.append({ ...recordOf([]), payload, spanCount: 50 });
    await run(setting, naming(everything), 1);
    expect(setting.deadLetters.letters).toMatchObject([
      { spanCount: 50, reason: 'of 50 traces, of one it says: trace 1 is elsewhere' },
    ]);
  });

  test('beside a request that fails: it goes again, and nothing is lost', async () => {
    const setting = deliver();
    let calls = 0;
    const script = naming(isOdd);
    setting.queue.append(recordOfTraces(numbers(60)));
    await run(setting, (call) => (++calls % 3 === 0 ? { kind: 'retry', reason: '503' } : script(call)), 1);
    expect(sorted(tracesOfLetters(setting))).toEqual(numbers(60).filter(isOdd));
    expect(await valueOf(setting.metrics.deliveredSpans)).toBe(30);
  });

  test('beside one that is not named: both are told', async () => {
    const setting = deliver();
    const gone = namingNone((trace) => trace === 10);
    setting.queue.append(recordOfTraces(numbers(20)));
    const script: Script = (call) => {
      const named = naming(isOdd)(call);
      return named === DELIVERED ? gone(call) : named;
    };
    await run(setting, script, 1);
    expect(sorted(tracesOfLetters(setting))).toEqual([1, 3, 5, 7, 9, 10, 11, 13, 15, 17, 19]);
  });
});

describe('a trace that the upstream does not name', () => {
  test.each([
    ['none', about([], 'some trace is gone')],
    ['one that is not in the request', about([999], 'some trace is gone')],
  ])('is looked for by whole traces, where it names %s', async (_, refusal) => {
    const setting = deliver({ maxBatchSpans: 1000 });
    setting.queue.append(recordOf(numbers(64).flatMap((trace) => [{ trace, isRoot: true }, { trace }])));
    const states = await run(setting, ({ traces }) => (traces.includes(23) ? refusal : DELIVERED), 1);
    expect(setting.destination.calls).toHaveLength(1 + 2 * 6);
    expect(setting.deadLetters.letters).toMatchObject([{ spanCount: 2, reason: 'some trace is gone' }]);
    expect(tracesOfLetters(setting)).toEqual([23, 23]);
    expect([...states]).toEqual(['unknown', 'up']);
  });

  test('is nobody’s fault either', async () => {
    const setting = deliver({ maxBatchSpans: 20 });
    const records = Array.from({ length: 100 }, (_, trace) => whole(trace));
    setting.queue.append(...records);
    const states = await run(setting, namingNone(everything), records.length, 3600);
    expect([...states]).toEqual(['unknown', 'up']);
    expect(setting.deadLetters.letters).toHaveLength(100);
  });
});
