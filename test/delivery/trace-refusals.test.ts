import { describe, expect, test } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { seeded } from '../fault/support/random.ts';
import {
  answerAll,
  deliver,
  DELIVERED,
  pass,
  quiet,
  useTimeOfTest,
  valueOf,
  whole,
} from './dispatcher-support.ts';
import { decode, encode, recordOf, traceIdOf } from './support.ts';
import type { Call } from './support.ts';

useTimeOfTest();

type Script = (call: Call) => SendOutcome;

const about = (traces: readonly number[], reason: string): SendOutcome => ({
  kind: 'refused',
  status: 400,
  reason,
  traces: traces.map((trace) => traceIdOf(trace)),
});

/** Names the first trace of a request that is another experiment's, as MLflow 3.18 does. */
const naming =
  (isForeign: (trace: number) => boolean): Script =>
  ({ traces }) => {
    const [foreign] = traces.filter((trace) => isForeign(trace)).toSorted((a, b) => a - b);
    return foreign === undefined ? DELIVERED : about([foreign], `trace ${foreign} is elsewhere`);
  };
/** Names all of them, as MLflow does of archived ones. */
const namingAll =
  (isArchived: (trace: number) => boolean): Script =>
  ({ traces }) => {
    const archived = traces.filter((trace) => isArchived(trace));
    return archived.length === 0 ? DELIVERED : about(archived, 'these are archived');
  };
const namingNone =
  (isGone: (trace: number) => boolean): Script =>
  ({ traces }) =>
    traces.some((trace) => isGone(trace)) ? about([], 'some trace is gone') : DELIVERED;

const isOdd = (trace: number) => trace % 2 === 1;
const everything = () => true;
const below40 = naming((trace) => trace <= 40);
const BAD = { kind: 'refused', status: 400, reason: 'bad' } as const;
const DOUBTFUL: SendOutcome = { kind: 'refused', status: 422, reason: '422', doubtful: true };
const isBad = (call: Call) => call.traces.some((trace) => trace % 25 === 0);
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

/** One record of so many traces, of one span each. */
const recordOfTraces = (traces: readonly number[], sender = 'agent') =>
  recordOf(
    traces.map((trace) => ({ trace, isRoot: true })),
    { sender },
  );

type Setting = ReturnType<typeof deliver>;
const tracesOfLetters = ({ deadLetters }: Setting) =>
  deadLetters.letters.flatMap(({ payload }) => decode(payload).map(({ trace }) => trace));
const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b);

/** Until all that was appended is settled, with the states that were seen on the way. */
async function run(setting: Setting, script: Script, records: number, seconds = 600): Promise<Set<string>> {
  const states = new Set<string>();
  await answerAll(
    setting.destination,
    (call) => {
      states.add(setting.delivery.state().state);
      return script(call);
    },
    { seconds, until: () => setting.queue.settled.length === records },
  );
  expect(setting.queue.settled).toHaveLength(records);
  states.add(setting.delivery.state().state);
  return states;
}

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

  test.each<[string, Script]>([
    ['that are told first', (call) => (isBad(call) ? BAD : below40(call))],
    ['that are told later', (call) => (below40(call) === DELIVERED && isBad(call) ? BAD : below40(call))],
    [
      'in the requests where no trace is named',
      (call) => (isBad(call) && call.traces.length < 60 ? BAD : below40(call)),
    ],
  ])('beside bad spans %s: each is told for what it is', async (_, script) => {
    const setting = deliver();
    setting.queue.append(recordOfTraces(numbers(100)));
    await run(setting, script, 1);
    const { letters } = setting.deadLetters;
    const bad = letters.filter(({ reason }) => reason === BAD.reason);
    const tracesOfBad = bad.flatMap(({ payload }) => decode(payload).map(({ trace }) => trace));
    expect(sorted(tracesOfLetters(setting))).toEqual([...numbers(40), 50, 75, 100]);
    expect(tracesOfBad).toEqual(expect.arrayContaining([50, 75, 100]));
    expect(letters.filter(({ isOfTrace }) => isOfTrace)).toHaveLength(43 - tracesOfBad.length);
    expect(await valueOf(setting.metrics.deliveredSpans)).toBe(57);
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

  test('after it was taken once, and sent again to judge another: it stays delivered', async () => {
    const setting = deliver();
    const { destination } = setting;
    setting.queue.append(recordOfTraces([1, 2]));
    const elsewhere = about([2], 'trace 2 is elsewhere');
    // As the ends take turns, the second goes first, and again after the other.
    const script: Script = ({ traces }) => {
      if (traces.includes(1)) return DOUBTFUL;
      return destination.calls.filter((call) => call.traces.length === 1).length > 1 ? elsewhere : DELIVERED;
    };
    await answerAll(destination, script, { seconds: 60 });
    expect(setting.deadLetters.letters).toEqual([]);
    expect(await valueOf(setting.metrics.deliveredSpans)).toBe(1);
    expect(destination.calls.slice(0, 4).map(({ traces }) => traces)).toEqual([[1, 2], [2], [1], [2]]);
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

test('a refusal of a trace says nothing of a span that is suspected, and that one nothing of the trace', async () => {
  const setting = deliver();
  const { queue, destination, deadLetters } = setting;
  queue.append(recordOf([{ trace: 1, isRoot: true }]));
  (await destination.nextCall()).answer(DOUBTFUL);
  await quiet();
  queue.append(recordOfTraces([2]));
  (await destination.nextCall()).answer(about([2], 'trace 2 is elsewhere'));
  await pass(600_000);
  expect(deadLetters.letters).toMatchObject([{ reason: 'trace 2 is elsewhere' }]);
  await run(setting, () => DELIVERED, 2);
  expect(deadLetters.letters).toHaveLength(1);
});

test('a span that was suspected, and whose trace is refused then, is one letter, and goes no more', async () => {
  const setting = deliver();
  const { queue, destination } = setting;
  queue.append(recordOfTraces([1]));
  const script: Script = () =>
    destination.calls.length === 1 ? DOUBTFUL : about([1], 'trace 1 is elsewhere');
  await run(setting, script, 1);
  await answerAll(destination, script, { seconds: 120 });
  expect(destination.calls).toHaveLength(2);
  expect(setting.deadLetters.letters).toMatchObject([{ reason: 'trace 1 is elsewhere' }]);
});
