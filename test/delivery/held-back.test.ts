import { expect, test } from 'vitest';
import { DELIVERED, deliver, quiet, useTimeOfTest, whole } from './dispatcher-support.ts';
import { recordOf } from './support.ts';

useTimeOfTest();

test('while the queue holds back what is behind them, traces do not wait for their roots, and nothing more is read', async () => {
  const { queue, destination } = deliver();
  queue.append(recordOf([{ trace: 1 }]));
  await quiet();
  expect(destination.calls).toEqual([]);

  queue.isHeldBack = true;
  queue.append(whole(2));
  const call = await destination.nextCall();
  expect(call.traces).toEqual([1]);
  expect(queue.unread).toBe(1);

  call.answer(DELIVERED);
  queue.isHeldBack = false;
  queue.append(whole(3));
  expect((await destination.nextCall()).traces).toEqual([2]);
});
