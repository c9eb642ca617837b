import { describe, expect, test } from 'vitest';
import { deliver, DELIVERED, pass, quiet, useTimeOfTest, whole } from './dispatcher-support.ts';
import { recordOf } from './support.ts';

useTimeOfTest();

describe('stopping', () => {
  test('begins nothing new, and settles what ends before the deadline', async () => {
    const { queue, destination, delivery } = deliver({ maxInFlight: 1 });
    queue.append(whole(1));
    const call = await destination.nextCall();
    queue.append(whole(2));
    await quiet();
    const stopped = delivery.stop(10_000);
    await pass(9000);
    expect(call.signal.aborted).toBe(false);
    call.answer(DELIVERED);
    await stopped;
    expect(queue.settled).toHaveLength(1);
    expect(destination.calls).toHaveLength(1);
  });

  test('aborts what does not end before the deadline, and leaves it unsettled', async () => {
    const { queue, destination, delivery } = deliver();
    queue.append(whole(1));
    const call = await destination.nextCall();
    const stopped = delivery.stop(10_000);
    await pass(10_000);
    expect(call.signal.aborted).toBe(true);
    await stopped;
    expect(queue.settled).toEqual([]);
    expect(delivery.state().state).toBe('unknown');
  });

  test('does not wait for a pause to end, nor for a request that takes no notice', async () => {
    const { queue, destination, delivery } = deliver();
    queue.append(whole(1));
    (await destination.nextCall()).answer({ kind: 'retry', reason: 'away' });
    await quiet();
    await delivery.stop(10_000);
    await pass(60_000);
    expect(destination.calls).toHaveLength(1);

    const other = deliver();
    other.destination.send = () => new Promise(() => undefined);
    other.queue.append(whole(1));
    await quiet();
    const stopped = other.delivery.stop(100);
    expect(other.delivery.stop(5)).toBe(stopped);
    await pass(1100);
    await stopped;
  });

  test('a refused span is a dead letter before it ends, unless the disk does not take it', async () => {
    const { queue, destination, delivery, deadLetters } = deliver();
    queue.append(recordOf([{ trace: 1, isRoot: true }]));
    const call = await destination.nextCall();
    const stopped = delivery.stop(10_000);
    call.answer({ kind: 'refused', status: 400, reason: '400' });
    await stopped;
    expect(deadLetters.letters).toHaveLength(1);
    expect(queue.settled).toHaveLength(1);

    const other = deliver();
    other.deadLetters.disk = () => Promise.reject(new Error('EIO'));
    other.queue.append(recordOf([{ trace: 1, isRoot: true }]));
    (await other.destination.nextCall()).answer({ kind: 'refused', status: 400, reason: '400' });
    await quiet();
    await other.delivery.stop(10_000);
    expect(other.queue.settled).toEqual([]);
  });

  test('with a full window and nothing in hand', async () => {
    const { queue, destination, delivery } = deliver({ windowSize: 1 });
    queue.append(whole(1), whole(2));
    (await destination.nextCall()).answer({ kind: 'retry', reason: 'away' });
    await quiet();
    await delivery.stop(10_000);
    expect(queue.unread).toBe(1);
  });

  test('a token that is not taken is not replaced any more', async () => {
    const { queue, destination, delivery } = deliver();
    queue.append(whole(1));
    const call = await destination.nextCall();
    const stopped = delivery.stop(10_000);
    call.answer({ kind: 'unauthorized', reason: '401' });
    await stopped;
    expect(destination.calls).toHaveLength(1);
    expect(queue.settled).toEqual([]);
  });

  test('a record that cannot be read stays in the queue unless it is a dead letter', async () => {
    const { queue, deadLetters, delivery } = deliver();
    deadLetters.disk = () => Promise.reject(new Error('EIO'));
    queue.append({ ...whole(1), payload: Uint8Array.of(0x0a, 0x7f) });
    await quiet();
    await delivery.stop(10_000);
    expect(queue.settled).toEqual([]);
  });
});
