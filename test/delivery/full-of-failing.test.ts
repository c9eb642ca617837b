import { expect, test } from 'vitest';
import { DELIVERED, deliver, pass, useTimeOfTest } from './dispatcher-support.ts';
import { ModelDestination, UNAVAILABLE } from './model-destination.ts';
import { recordOf } from './support.ts';

useTimeOfTest();

const SECONDS = 1500;
const BAD_RECORDS = 60;

test.each([
  ['at once, before anything else was stored', (second: number) => (second === 0 ? BAD_RECORDS : 0)],
  ['at once, beside what is stored', (second: number) => (second === 5 ? BAD_RECORDS : 0)],
  ['one a second', (second: number) => (second >= 5 && second < 5 + BAD_RECORDS ? 1 : 0)],
])('what never passes, and is more than the window holds, stops nobody else: %s', async (_name, badIn) => {
  const destination = new ModelDestination(({ isMarked }) => ({
    ms: 100,
    outcome: isMarked ? UNAVAILABLE : DELIVERED,
  }));
  const { queue, deadLetters } = deliver({ windowSize: 20_000, traceWaitMs: 0 }, destination as never);
  let trace = 0;
  for (let second = 0; second < SECONDS; second++) {
    queue.append(recordOf([{ trace: ++trace, isRoot: true }], { sender: 'good' }));
    for (let bad = badIn(second); bad > 0; bad--)
      queue.append(recordOf([{ trace: ++trace, isRoot: true, name: 'marked' }], { sender: 'bad' }));
    await pass(1000);
  }
  await pass(1000);
  expect(destination.stored.size).toBe(SECONDS);
  expect(new Set(deadLetters.letters.map(({ sender }) => sender))).toEqual(new Set(['bad']));
});
