import { describe, expect, test } from 'vitest';
import { repairForMlflow } from '../../src/destinations/mlflow-repair.ts';
import { answerAll, deliver, DELIVERED, pass, quiet, useTimeOfTest, valueOf } from './dispatcher-support.ts';
import { decode, recordOf, ScriptedDestination } from './support.ts';
import type { Call } from './support.ts';

useTimeOfTest();

const NUL = { kind: 'refused', status: 500, reason: '500: NUL', unstorable: 'NUL' } as const;
const HALF = { kind: 'refused', status: 500, reason: '500: half', unstorable: 'surrogates' } as const;
const DEFINITE = { kind: 'refused', status: 400, reason: '400: bad' } as const;

/** Without fields that nobody knows, of which the upstream sees nothing. */
const factsOf = ({ spans }: Call) =>
  spans.map(({ facts }) => facts.replaceAll(/"future":"[^"]*"/g, '')).join();
const hasNul = (call: Call) => factsOf(call).includes(String.raw`\u0000`);
const hasHalf = (call: Call) => factsOf(call).includes(String.raw`\\ud83d`);
const cursed = (call: Call) => call.spans.some(({ facts }) => facts.includes('cursed'));

const answer = (call: Call) => (hasNul(call) ? NUL : hasHalf(call) ? HALF : DELIVERED);

function deliverMended() {
  const destination = Object.assign(new ScriptedDestination(), { repair: repairForMlflow });
  const delivery = deliver({}, destination);
  const send = async (count: number, sender: string, names: readonly string[] = ['good']) => {
    const before = destination.calls.length;
    const letters = delivery.deadLetters.letters.length;
    const settled = delivery.queue.settled.length + count;
    for (let trace = 0; trace < count; trace++)
      delivery.queue.append(
        recordOf(
          names.map((name) => ({ trace: settled * 1000 + trace, isRoot: true, name })),
          { sender },
        ),
      );
    await quiet();
    await answerAll(destination, answer, { until: () => delivery.queue.settled.length === settled });
    expect(delivery.queue.settled).toHaveLength(settled);
    return {
      refused: destination.calls.slice(before).filter((call) => answer(call) !== DELIVERED).length,
      letters: delivery.deadLetters.letters.slice(letters),
    };
  };
  return { ...delivery, send };
}

/** A resource of a sender has its name. */
const BAD = 'bad\0';

describe('bad text in what is around all spans of a sender', () => {
  test('costs what was under way and one letter, once', async () => {
    const { send, metrics } = deliverMended();
    const first = await send(50, BAD);
    expect(first.refused).toBeLessThanOrEqual(8);
    expect(first.letters).toMatchObject([
      { spanCount: 1, sender: BAD, reason: '500: NUL', repaired: 'U+FFFD in place of NUL: resource' },
    ]);
    expect(decode(first.letters[0]!.payload)[0]!.facts).toContain(String.raw`bad\u0000`);
    expect(await send(50, BAD)).toEqual({ refused: 0, letters: [] });
    expect(await valueOf(metrics.deliveredSpans)).toBe(99);
    expect(await valueOf(metrics.repairedSpans)).toBe(100);
  });

  test('does not set the sender apart', async () => {
    const { send, delivery } = deliverMended();
    await send(5, BAD);
    expect(delivery.state()).toMatchObject({ state: 'up' });
    expect(delivery.state().reason).toBeUndefined();
    expect(await send(1, 'good')).toEqual({ refused: 0, letters: [] });
  });

  test('is asked about again after an hour, and one original more is kept', async () => {
    const { send } = deliverMended();
    await send(1, BAD);
    await pass(59 * 60_000);
    expect(await send(1, BAD)).toEqual({ refused: 0, letters: [] });
    await pass(2 * 60_000);
    expect(await send(1, BAD)).toMatchObject({ refused: 1, letters: [{ spanCount: 1 }] });
  });

  test('is taken out beforehand for that sender alone', async () => {
    const { send } = deliverMended();
    await send(1, BAD);
    expect(await send(1, 'other\0')).toMatchObject({ refused: 1, letters: [{ sender: 'other\0' }] });
  });

  test('in spans, too: these are mended once they are refused, and each original is kept', async () => {
    const { send } = deliverMended();
    await send(1, BAD);
    const { refused, letters } = await send(1, BAD, ['good', 'name\0', 'good']);
    expect(refused).toBe(1);
    expect(letters).toMatchObject([{ spanCount: 1, repaired: 'U+FFFD in place of NUL: name, resource' }]);
    expect(decode(letters[0]!.payload)).toHaveLength(1);
  });
});

test('what is refused for one reason after the other is mended for each', async () => {
  const { send } = deliverMended();
  const { refused, letters } = await send(1, 'good', ['name\0', String.raw`"\ud83d"`, 'good']);
  expect(refused).toBe(2);
  expect(letters).toMatchObject([{ spanCount: 2 }]);
  expect(letters[0]?.repaired?.split('; ')).toEqual([
    'U+FFFD in place of NUL: name',
    'U+FFFD in place of half of a surrogate pair: name',
  ]);
});

test('what is refused mended too is looked for, and the others are delivered', async () => {
  const destination = Object.assign(new ScriptedDestination(), { repair: repairForMlflow });
  const { queue, deadLetters } = deliver({}, destination);

  queue.append(recordOf(['name\0', 'good', 'cursed'].map((name, trace) => ({ trace, isRoot: true, name }))));
  const until = () => queue.settled.length === 1;
  await answerAll(destination, (call) => (hasNul(call) ? NUL : cursed(call) ? DEFINITE : DELIVERED), {
    until,
  });
  expect(deadLetters.letters.map(({ repaired, spanCount }) => [repaired, spanCount]).toSorted()).toEqual(
    [
      ['U+FFFD in place of NUL: name', 1],
      [undefined, 1],
    ].toSorted(),
  );
});
