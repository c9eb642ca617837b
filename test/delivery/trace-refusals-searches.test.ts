import { describe, expect, test } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { answerAll, deliver, DELIVERED, pass, quiet, useTimeOfTest, valueOf } from './dispatcher-support.ts';
import type { Call } from './support.ts';
import {
  about,
  naming,
  numbers,
  recordOfTraces,
  run,
  sorted,
  tracesOfLetters,
} from './trace-refusals-support.ts';
import type { Script } from './trace-refusals-support.ts';
import { decode, recordOf } from './support.ts';

useTimeOfTest();

const below40 = naming((trace) => trace <= 40);
const BAD = { kind: 'refused', status: 400, reason: 'bad' } as const;
const DOUBTFUL: SendOutcome = { kind: 'refused', status: 422, reason: '422', doubtful: true };
const isBad = (call: Call) => call.traces.some((trace) => trace % 25 === 0);

describe('a trace that the upstream names, while bad spans are looked for', () => {
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

  test('a piece that has left its search so is searched anew, where it is refused for a span', async () => {
    const setting = deliver();
    const { destination } = setting;
    setting.queue.append(recordOfTraces(numbers(8)));
    const script: Script = ({ traces }) => {
      if (destination.calls.length > 1 && traces.includes(2)) return about([2], 'trace 2 is elsewhere');
      return traces.includes(3) ? BAD : DELIVERED;
    };
    await run(setting, script, 1);
    expect(sorted(tracesOfLetters(setting))).toEqual([2, 3]);
    expect(await valueOf(setting.metrics.deliveredSpans)).toBe(6);
  });
});
