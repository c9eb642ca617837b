import { expect, test } from 'vitest';
import { DELIVERED, answerAll, deliver, pass, quiet, useTimeOfTest, whole } from './dispatcher-support.ts';
import { recordOf } from './support.ts';

useTimeOfTest();

const ALL = 12_000;
const traces = (count: number) => Array.from({ length: count }, (_, trace) => ({ trace, isRoot: true }));
/** As many as in a part and some more, all of one trace. */
const oneTrace = (count: number) =>
  Array.from({ length: count }, (_, at) => ({ trace: 7, isRoot: at === 0 }));

test('a record larger than the window enters it in parts, and is settled once, with its last span', async () => {
  const { queue, destination, deadLetters } = deliver({ windowSize: 1_000_000, maxBatchSpans: 500 });
  const record = recordOf(traces(ALL), { sender: 'big' });
  queue.append(record);
  await answerAll(destination, () => DELIVERED, { until: () => queue.settled.length > 0 });
  const sent = destination.calls.flatMap(({ traces: mine }) => mine);
  expect(sent.toSorted((a, b) => a - b)).toEqual(traces(ALL).map(({ trace }) => trace));
  expect(queue.settled).toEqual([record]);
  expect(queue.doneSpans).toBe(ALL);
  expect(deadLetters.letters).toEqual([]);
});

test('what stands behind it goes on meanwhile', async () => {
  const { queue, destination } = deliver({ windowSize: 4_000_000, maxBatchSpans: 500, maxInFlight: 1 });
  queue.append(recordOf(traces(ALL), { sender: 'big' }), recordOf([{ trace: 99_999, isRoot: true }]));
  await quiet();
  const calls = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const call = await destination.nextCall();
      call.answer(DELIVERED);
      await quiet();
      return call;
    }),
  );
  expect(calls.flatMap((call) => call.traces)).toContain(99_999);
  await answerAll(destination, () => DELIVERED, { until: () => queue.settled.length === 2 });
  expect(queue.settled.map(({ sender }) => sender)).toEqual(['agent', 'big']);
});

test('a trace of more spans than a part goes in order, one request at a time', async () => {
  const { queue, destination } = deliver({ windowSize: 1e8 });
  queue.append(recordOf(oneTrace(5000)));
  const ids: number[] = [];
  while (queue.settled.length === 0) {
    await quiet();
    expect(destination.inFlight.size).toBeLessThanOrEqual(1);
    for (const call of destination.inFlight) {
      ids.push(...call.spans.map(({ id }) => id));
      call.answer(DELIVERED);
    }
    await pass(10);
  }
  expect(ids).toHaveLength(5000);
  expect(ids).toEqual(ids.toSorted((a, b) => a - b));
});

test('one that cannot be read is a dead letter as a whole, and what is behind it goes on', async () => {
  const { queue, destination, deadLetters } = deliver();
  const record = recordOf(traces(5000), { sender: 'big' });
  const payload = record.payload.slice();
  payload[1] = 0x01; // a length that does not fit
  queue.append({ ...record, payload }, whole(6000));
  const call = await destination.nextCall();
  call.answer(DELIVERED);
  await quiet();
  expect(call.traces).toEqual([6000]);
  expect(deadLetters.letters).toMatchObject([{ sender: 'big', spanCount: 5000, payload }]);
  expect(deadLetters.letters[0]?.reason).toContain('could not read the record');
  expect(queue.settled).toHaveLength(2);
});

test('while its letter cannot be written, what is behind it goes on all the same', async () => {
  const { queue, destination, deadLetters } = deliver();
  deadLetters.disk = () => Promise.reject(new Error('no room'));
  const record = recordOf(traces(5000), { sender: 'big' });
  queue.append({ ...record, payload: new Uint8Array(record.payload.length) }, whole(6000));
  const call = await destination.nextCall();
  call.answer(DELIVERED);
  await quiet();
  expect(queue.settled).toHaveLength(1);
  deadLetters.disk = async () => {};
  await pass(60_000);
  expect(queue.settled).toHaveLength(2);
});
