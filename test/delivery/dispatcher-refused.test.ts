import { describe, expect, test } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
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
import { decode, encode, recordOf } from './support.ts';
import type { Call } from './support.ts';

useTimeOfTest();

const DEFINITE = { kind: 'refused', status: 400, reason: '400: bad' } as const;
const DOUBTFUL = { kind: 'refused', status: 422, reason: '422: Failed to log', doubtful: true } as const;

const isBad = (call: Call) => call.spans.some(({ facts }) => facts.includes('"bad"'));
const isGood = (call: Call) => call.traces.some((trace) => trace >= 1000);
const takeGood = (call: Call) => (isGood(call) ? DELIVERED : DEFINITE);
const refuseTrace =
  (trace: number, refusal: SendOutcome) =>
  (call: Call): SendOutcome =>
    call.traces.includes(trace) ? refusal : DELIVERED;

describe('a refused batch', () => {
  test('costs the bad span alone; who sent it and why is kept, durable before it is settled', async () => {
    const { queue, destination, deadLetters, metrics, lines, delivery } = deliver();
    const disk = Promise.withResolvers<void>();
    deadLetters.disk = () => disk.promise;
    const good = recordOf([{ trace: 1 }, { trace: 2 }, { trace: 2 }], { sender: 'a' });
    const bad = recordOf([{ trace: 3, isRoot: true }], { sender: 'b' });
    queue.append(good, bad);
    await pass(5000);
    await answerAll(destination, refuseTrace(3, DEFINITE), { seconds: 10 });
    expect(queue.settled).toEqual([good]);
    expect(deadLetters.letters).toEqual([]);
    disk.resolve();
    await quiet();
    expect(queue.settled).toEqual([good, bad]);
    expect(queue.doneSpans).toBe(4);
    expect(deadLetters.letters).toEqual([
      {
        id: expect.any(String),
        destination: 'mlflow',
        target: 'experiment default',
        sender: 'b',
        route: bad.route,
        receivedAt: bad.receivedAt,
        refusedAt: expect.any(Number),
        attempts: destination.calls.filter(({ traces }) => traces.includes(3)).length,
        status: 400,
        reason: '400: bad',
        repaired: undefined,
        spanCount: 1,
        payload: bad.payload,
        origins: [],
        onKept: expect.any(Function),
      },
    ]);
    const said = lines.filter(({ level }) => level === 'warn');
    expect(said).toMatchObject([{ spans: 1, reason: '400: bad', sender: 'b' }]);
    expect(await valueOf(metrics.deliveredSpans)).toBe(3);
    expect(delivery.state().state).toBe('up');
  });

  test('keeps the bad span as it came, with its resource and scope', async () => {
    const { queue, destination, deadLetters } = deliver();
    const record = recordOf([{ trace: 1, isRoot: true }, { trace: 2 }, { trace: 1, name: 'bad' }]);
    queue.append(record);
    await pass(5000);
    const until = () => queue.settled.length === 1;
    await answerAll(destination, (call) => (isBad(call) ? DEFINITE : DELIVERED), { until });
    const [letter] = deadLetters.letters;
    expect(deadLetters.letters).toHaveLength(1);
    expect(decode(letter?.payload ?? new Uint8Array())).toEqual([decode(record.payload)[2]]);
  });

  test('of which each span is bad becomes a dead letter for each', async () => {
    const { queue, destination, deadLetters } = deliver();
    queue.append(...Array.from({ length: 5 }, (_, trace) => whole(trace)));
    await answerAll(destination, () => DEFINITE, { until: () => queue.settled.length === 5 });
    expect(deadLetters.letters).toHaveLength(10);
  });
});

const large = (names: readonly string[]) => {
  const spans = names.map((name, id) => ({ id, trace: id, isRoot: true, name }));
  const payload = encode([{ name: 'x'.repeat(20_000), scopes: [{ name: 'lib', spans }] }]);
  return { ...recordOf([]), payload, spanCount: spans.length };
};

describe('a record with much around its spans', () => {
  test('is one letter for all of its spans that are bad alike, so that it is not kept as often', async () => {
    const { queue, destination, deadLetters } = deliver();
    const record = large(['good', 'bad', 'bad', 'good', 'bad']);
    queue.append(record);
    const until = () => queue.settled.length === 1;
    await answerAll(destination, (call) => (isBad(call) ? DEFINITE : DELIVERED), { until });
    expect(deadLetters.letters).toHaveLength(1);
    const [letter] = deadLetters.letters;
    expect(letter).toMatchObject({ spanCount: 3, reason: '400: bad' });
    const all = decode(record.payload);
    expect(decode(letter?.payload ?? new Uint8Array())).toEqual([all[1], all[2], all[4]]);
  });
});

describe('a doubtful refusal', () => {
  test('is believed of a span that was refused alone, twice, with another delivery in between', async () => {
    const { queue, destination, deadLetters, delivery } = deliver();
    queue.append(recordOf([{ trace: 1, isRoot: true }]));
    await answerAll(destination, () => DOUBTFUL, { seconds: 600 });
    expect(deadLetters.letters).toEqual([]);
    // It goes again now and then, as the fault may be over.
    expect(destination.calls.length).toBeLessThan(20);
    expect(delivery.state()).toMatchObject({
      state: 'up',
      reason: expect.stringContaining('looking for the bad spans of 1 refused batch'),
    });
    queue.append(whole(2));
    await answerAll(destination, refuseTrace(1, DOUBTFUL), { until: () => queue.settled.length === 2 });
    expect(deadLetters.letters).toMatchObject([{ reason: '422: Failed to log', status: 422 }]);
  });

  test('is tested by a good piece of the same batch where nothing else comes', async () => {
    const { queue, destination, deadLetters } = deliver();
    // The ends take turns: the second half goes first.
    const roots = [1, 2].map((trace) => ({ trace, isRoot: true }));
    queue.append(recordOf(roots));
    await answerAll(destination, refuseTrace(1, DOUBTFUL), { until: () => queue.settled.length === 1 });
    expect(deadLetters.letters).toHaveLength(1);
    expect(destination.calls.map(({ traces }) => traces)).toEqual([[1, 2], [2], [1], [2], [1]]);
  });

  test('is a fault of the upstream while everything is refused, for as long as it takes', async () => {
    const { queue, destination, deadLetters, delivery, lines } = deliver({ maxBatchSpans: 20 });
    const records = Array.from({ length: 50 }, (_, trace) => whole(trace));
    queue.append(...records);
    await answerAll(destination, () => DOUBTFUL, { seconds: 3600 });
    expect(deadLetters.letters).toEqual([]);
    expect(queue.settled).toEqual([]);
    expect(delivery.state()).toMatchObject({
      state: 'blocked',
      reason: expect.stringContaining('422: Failed to log; whatever is sent is answered like this'),
    });
    const told = lines.filter(({ level }) => level === 'error');
    expect(told.length).toBeGreaterThan(30);
    expect(told.length).toBeLessThanOrEqual(60);
    // Two dozen until it was told from a bad span, and then about one a minute.
    expect(destination.calls.length).toBeLessThan(120);

    await answerAll(destination, () => DELIVERED, {
      seconds: 300,
      until: () => queue.settled.length === records.length,
    });
    expect(queue.settled).toHaveLength(records.length);
    expect(deadLetters.letters).toEqual([]);
  });
});

describe('many bad spans at once', () => {
  test('cost no more than a bound of extra requests a second, and good traffic goes first', async () => {
    const { queue, destination, deadLetters } = deliver({ maxBatchSpans: 10, maxInFlight: 2 });
    const bad = Array.from({ length: 200 }, (_, trace) => recordOf([{ trace, isRoot: true }]));
    queue.append(...bad);
    await answerAll(destination, () => DEFINITE, { seconds: 5 });
    const before = destination.calls.length;
    // 20 batches as they were, and then pieces of them: 40 at once and 20 a second.
    expect(before).toBeLessThanOrEqual(20 + 40 + 5 * 20 + 1);
    const good = Array.from({ length: 100 }, (_, index) => whole(1000 + index));
    queue.append(...good);
    await answerAll(destination, takeGood, {
      until: () => good.every((record) => queue.settled.includes(record)),
    });
    const extra = destination.calls.slice(before).filter((call) => !isGood(call)).length;
    expect(extra).toBeLessThanOrEqual(20);
    await answerAll(destination, takeGood, { seconds: 300, until: () => deadLetters.letters.length === 200 });
    expect(deadLetters.letters).toHaveLength(200);
  });
});

describe('dead letters that cannot be written', () => {
  test('show in the state, and are written once they can be', async () => {
    const { queue, destination, deadLetters, delivery } = deliver();
    deadLetters.disk = () => Promise.reject(new Error('the dead letters have reached their limit'));
    queue.append(recordOf([{ trace: 1, isRoot: true }]));
    (await destination.nextCall()).answer(DEFINITE);
    await quiet();
    expect(delivery.state()).toMatchObject({
      state: 'blocked',
      reason: expect.stringContaining('the dead letters have reached their limit'),
    });
    deadLetters.disk = () => Promise.resolve();
    await pass(31_000);
    expect(delivery.state().state).toBe('up');
    expect(queue.settled).toHaveLength(1);
  });

  test('stay in the queue, and others go on', async () => {
    const { queue, destination, deadLetters, lines } = deliver();
    deadLetters.disk = () => Promise.reject(new Error('EIO: i/o error, write'));
    queue.append(recordOf([{ trace: 1, isRoot: true }]));
    (await destination.nextCall()).answer(DEFINITE);
    await pass(10_000);
    expect(queue.settled).toEqual([]);
    const said = lines.filter(({ level }) => level === 'error');
    expect(said).toMatchObject([{ reason: 'EIO: i/o error, write' }]);
    queue.append(whole(2));
    (await destination.nextCall()).answer(DELIVERED);
    await quiet();
    expect(queue.settled).toHaveLength(1);

    deadLetters.disk = async () => undefined;
    await pass(30_000);
    expect(deadLetters.letters).toHaveLength(1);
    expect(queue.settled).toHaveLength(2);
    expect(destination.calls).toHaveLength(2);
  });
});
