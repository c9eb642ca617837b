import { describe, expect, test } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { deliver, DELIVERED, pass, quiet, useTimeOfTest, valueOf, whole } from './dispatcher-support.ts';
import { decode, encode, recordOf, ScriptedDestination } from './support.ts';
import type { Call } from './support.ts';

useTimeOfTest();

const DEFINITE = { kind: 'refused', status: 400, reason: '400: bad' } as const;
const DOUBTFUL = { kind: 'refused', status: 422, reason: '422: Failed to log', doubtful: true } as const;

/** Answers all that is sent, for so long. */
async function answerAll(
  destination: ScriptedDestination,
  answer: (call: Call) => SendOutcome,
  { seconds = 60, until = () => false }: { seconds?: number; until?: () => boolean } = {},
): Promise<void> {
  for (let turn = 0; turn < seconds * 10 && !until(); turn++) {
    for (const call of destination.inFlight) call.answer(answer(call));
    await pass(100);
  }
}

const isBad = (call: Call) => call.spans.some(({ facts }) => facts.includes('"bad"'));
const isGood = (call: Call) => call.traces.some((trace) => trace >= 1000);
const takeGood = (call: Call) => (isGood(call) ? DELIVERED : DEFINITE);
const tooLong = (call: Call) => call.spans.some(({ facts }) => facts.includes('much too long'));
const cursed = (call: Call) => call.traces.includes(13);

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

describe('a doubtful refusal', () => {
  test('is believed of a span that was refused alone, twice, with another delivery in between', async () => {
    const { queue, destination, deadLetters, delivery } = deliver();
    queue.append(recordOf([{ trace: 1, isRoot: true }]));
    await answerAll(destination, () => DOUBTFUL, { seconds: 600 });
    expect(deadLetters.letters).toEqual([]);
    expect(destination.calls).toHaveLength(1);
    expect(delivery.state()).toMatchObject({
      state: 'up',
      reason: expect.stringContaining('of 1 refused batch the bad spans are looked for'),
    });
    queue.append(whole(2));
    await answerAll(destination, refuseTrace(1, DOUBTFUL), { until: () => queue.settled.length === 2 });
    expect(deadLetters.letters).toMatchObject([{ reason: '422: Failed to log', status: 422, attempts: 2 }]);
  });

  test('is tested by a good piece of the same batch where nothing else comes', async () => {
    const { queue, destination, deadLetters } = deliver();
    const roots = [1, 2].map((trace) => ({ trace, isRoot: true }));
    queue.append(recordOf(roots));
    await answerAll(destination, refuseTrace(2, DOUBTFUL), { until: () => queue.settled.length === 1 });
    expect(deadLetters.letters).toHaveLength(1);
    expect(destination.calls.map(({ traces }) => traces)).toEqual([[1, 2], [1], [2], [1], [2]]);
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

describe('a destination that mends', () => {
  /** Takes names of up to 10 characters, and cuts longer ones. */
  class Mending extends ScriptedDestination {
    repair(payload: Uint8Array) {
      const spans = decode(payload);
      const long = spans.flatMap(({ facts }, index) => (facts.includes('much too long') ? [index] : []));
      if (long.length === 0) return undefined;
      const mended = encode([
        {
          name: 'agent',
          scopes: [
            {
              name: 'lib',
              spans: spans.map(({ id, trace }, index) => ({
                id,
                trace,
                isRoot: true,
                name: long.includes(index) ? 'cut' : 'good',
              })),
            },
          ],
        },
      ]);
      return { payload: mended, spans: new Map(long.map((index) => [index, 'name: cut'])) };
    }
  }

  test('gets the batch once more, mended; the spans as they came are dead letters', async () => {
    const { queue, destination, deadLetters, metrics } = deliver({}, new Mending());
    const record = recordOf([
      { trace: 1, isRoot: true },
      { trace: 2, isRoot: true, name: 'much too long' },
      { trace: 3, isRoot: true },
    ]);
    queue.append(record);
    const until = () => queue.settled.length === 1;
    await answerAll(destination, (call) => (tooLong(call) ? DEFINITE : DELIVERED), { until });
    expect(destination.calls).toHaveLength(2);
    expect(deadLetters.letters).toMatchObject([
      { spanCount: 1, repaired: 'name: cut', reason: '400: bad', status: 400, attempts: 2 },
    ]);
    expect(decode(deadLetters.letters[0]?.payload ?? new Uint8Array())).toEqual([decode(record.payload)[1]]);
    expect(await valueOf(metrics.deliveredSpans)).toBe(2);
    expect(await valueOf(metrics.repairedSpans)).toBe(1);
    expect(queue.doneSpans).toBe(3);
  });

  test('and refuses it all the same: others are delivered, the mended one too', async () => {
    const { queue, destination, deadLetters } = deliver({}, new Mending());
    queue.append(
      recordOf([
        { trace: 1, isRoot: true, name: 'much too long' },
        { trace: 13, isRoot: true },
        { trace: 2, isRoot: true },
      ]),
    );
    const until = () => queue.settled.length === 1;
    await answerAll(destination, (call) => (tooLong(call) || cursed(call) ? DEFINITE : DELIVERED), { until });
    expect(deadLetters.letters).toHaveLength(2);
    const byRepair = new Map(deadLetters.letters.map((letter) => [letter.repaired, decode(letter.payload)]));
    expect(byRepair.get('name: cut')).toMatchObject([
      { trace: 1, facts: expect.stringContaining('too long') },
    ]);
    expect(byRepair.get(undefined)).toMatchObject([{ trace: 13 }]);
  });

  test('of a span that is refused mended too, the letter has it as it came', async () => {
    const { queue, destination, deadLetters } = deliver({}, new Mending());
    const record = recordOf([{ trace: 13, isRoot: true, name: 'much too long' }]);
    queue.append(record);
    await answerAll(destination, () => DEFINITE, { until: () => queue.settled.length === 1 });
    expect(deadLetters.letters).toMatchObject([{ payload: record.payload, repaired: undefined }]);
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
