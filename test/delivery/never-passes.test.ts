import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { DeliveryOptions } from '../../src/delivery/dispatcher.ts';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { isLong } from '../fault/support/run.ts';
import { DELIVERED, deliver, pass, useTimeOfTest } from './dispatcher-support.ts';
import { ModelDestination, UNAVAILABLE } from './model-destination.ts';
import type { ModelOutcome, ModelRequest } from './model-destination.ts';
import { decode, recordOf } from './support.ts';
import { randomOf } from './upstream-model.ts';

/* What an upstream fails at as if it would pass, and never takes, beside what it takes. In hours of the test's time. */

useTimeOfTest();
// Pauses depend on chance: on the same one in each run.
beforeEach(() => {
  const random = vi.spyOn(Math, 'random').mockImplementation(randomOf(1));
  return () => random.mockRestore();
});

const STEP_MS = 250;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const taken = (ms = 100): ModelOutcome => ({ ms, outcome: DELIVERED });
const failed = (ms = 100, outcome: SendOutcome = UNAVAILABLE): ModelOutcome => ({ ms, outcome });
const LATE: SendOutcome = { kind: 'retry', reason: 'no answer within 30 s', tooSlow: true };

type Load = {
  readonly forMs: number;
  readonly everyMs?: number;
  /** Whole traces of two spans in each request. */
  readonly traces?: number;
  readonly sender?: (request: number) => string;
};

/** An upstream, and a relay before it. */
function start(model: (request: ModelRequest) => ModelOutcome, options: Partial<DeliveryOptions> = {}) {
  const destination = new ModelDestination(model);
  const setting = deliver(
    { maxBatchSpans: 1000, maxBatchSize: 4e6, windowSize: 64e6, ...options },
    destination as never,
  );
  const { queue, deadLetters } = setting;
  let trace = 0;
  const sentAt = new Map<number, number>();
  const makeTraces = (count: number) =>
    Array.from({ length: count }, () => ++trace).flatMap((one) => [
      { trace: one, isRoot: true },
      { trace: one },
    ]);
  /** Good traces, all the time. */
  async function load({ forMs, everyMs = 500, traces = 5, sender = () => 'good' }: Load): Promise<void> {
    const until = Date.now() + forMs;
    for (let request = 0; Date.now() < until;) {
      if (Date.now() >= until - forMs + request * everyMs) {
        const record = recordOf(makeTraces(traces), { sender: sender(request++) });
        for (const { id } of decode(Buffer.from(record.payload))) sentAt.set(id, Date.now());
        queue.append(record);
      } else {
        await pass(STEP_MS);
      }
    }
  }
  /** Until all is settled; and no longer than that. */
  async function drain(forMs: number): Promise<void> {
    for (let ms = 0; ms < forMs && queue.settled.length < appended(); ms += STEP_MS) await pass(STEP_MS);
  }
  const append = queue.append.bind(queue);
  let records = 0;
  const appended = () => records;
  queue.append = (...more) => {
    records += more.length;
    append(...more);
  };
  const delays = (since = 0) =>
    [...sentAt]
      .filter(([, at]) => at >= since)
      .map(([id, at]) => (destination.stored.get(id)?.at ?? Infinity) - at)
      .toSorted((a, b) => a - b);
  const spansInLetters = () => deadLetters.letters.reduce((sum, { spanCount }) => sum + spanCount, 0);
  return { ...setting, destination, load, drain, delays, spansInLetters, appended };
}

const upTo300 = ({ spans }: ModelRequest) => (spans.length > 300 ? failed() : taken(200));
const marked = (trace: number) => ({ trace, isRoot: true, name: 'marked' });
const other = (trace: number) => ({ trace, isRoot: true });

describe('one span that the upstream never takes', () => {
  test.each([
    [
      'of the same sender, beside 999 of its batch',
      { sender: 'good', beside: 999, ms: 100, outcome: UNAVAILABLE },
    ],
    ['of another sender', { sender: 'bad', beside: 99, ms: 100, outcome: UNAVAILABLE }],
    ['alone', { sender: 'good', beside: 0, ms: 100, outcome: UNAVAILABLE }],
    ['for which the time is never enough', { sender: 'good', beside: 0, ms: 30_000, outcome: LATE }],
    ['in one trace of 100', { sender: 'good', beside: 99, ms: 100, outcome: UNAVAILABLE, isOneTrace: true }],
    [
      'that a firewall before it refuses',
      { sender: 'good', beside: 9, ms: 100, outcome: { kind: 'blocked', reason: '403' } as const },
    ],
  ])('becomes a dead letter, and nothing else does: %s', async (_name, about) => {
    const { sender, beside, ms, outcome, isOneTrace = false } = { isOneTrace: false, ...about };
    const { load, drain, destination, queue, deadLetters, spansInLetters, delays, appended } = start(
      ({ isMarked }) => (isMarked ? failed(ms, outcome) : taken()),
    );
    await load({ forMs: 2 * MINUTE, everyMs: SECOND, traces: 2 });
    const spans = Array.from({ length: beside + 1 }, (_, at) =>
      at === Math.floor(beside / 2)
        ? marked(1e6 + (isOneTrace ? 0 : at))
        : other(1e6 + (isOneTrace ? 0 : at)),
    );
    queue.append(recordOf(spans, { sender }));
    await load({ forMs: 5 * MINUTE, everyMs: SECOND, traces: 2 });
    // Its neighbours have not waited for it.
    expect(destination.stored.size).toBeGreaterThanOrEqual(7 * 60 * 4 - 8 + beside);
    expect(deadLetters.letters).toEqual([]);
    expect(queue.isPatient).toBe(true);
    const before = destination.failures;
    await load({ forMs: 85 * MINUTE, everyMs: 3 * SECOND, traces: 1 });
    await drain(MINUTE);
    expect(spansInLetters()).toBe(1);
    expect(deadLetters.letters[0]?.reason).toMatch(
      /this span alone failed like this \d+ times since 20.*, and then replay it/,
    );
    expect(queue.settled).toHaveLength(appended());
    expect(destination.overlaps.size).toBe(0);
    expect(queue.isPatient).toBe(false);
    // In 85 minutes, and in all.
    expect(destination.failures - before).toBeLessThan(25);
    expect(destination.failures).toBeLessThan(60);
    const all = delays();
    expect(all[Math.floor(all.length / 2)]).toBeLessThanOrEqual(2 * STEP_MS);
    expect(all[Math.floor(all.length * 0.99)]).toBeLessThanOrEqual(5 * SECOND);
    // What was in one request with it waits until that has failed.
    expect(all.at(-1)).toBeLessThanOrEqual(ms + 10 * SECOND);
  });
});

describe('requests over a size that the upstream never takes', () => {
  test.each([
    ['among smaller ones', 10],
    ['where nothing else comes', 0],
  ])('go in halves, and those after them are smaller: %s', async (_name, few) => {
    const { load, drain, destination, queue, deadLetters, delivery, appended } = start(upTo300);
    if (few > 0) await load({ forMs: MINUTE, traces: few });
    await load({ forMs: 20 * SECOND, everyMs: SECOND, traces: 500 });
    await drain(10 * MINUTE);
    expect(queue.settled).toHaveLength(appended());
    expect(deadLetters.letters).toEqual([]);
    expect(delivery.limits().batchSpans).toBeLessThanOrEqual(300);
    const { requests, failures } = destination;
    await load({ forMs: MINUTE, everyMs: SECOND, traces: 500 });
    expect((destination.failures - failures) / (destination.requests - requests)).toBeLessThan(0.05);
  });
});

describe('failures by chance', () => {
  const seeds = Array.from({ length: isLong ? 20 : 2 }, (_, index) => 7919 * index + 1);
  const shares = isLong ? [0.05, 1 / 3, 0.5, 0.9] : [1 / 3];
  const cases = shares.flatMap((share) =>
    seeds.flatMap((seed) => [1, 5].map((traces) => ({ share, seed, traces }))),
  );

  test.each(cases)(
    'of $share of all requests for an hour cost no span: $traces traces, seed $seed',
    async (about) => {
      const { share, seed, traces } = about;
      const random = randomOf(seed);
      const model = () => (random() < share ? failed() : taken());
      const { load, drain, destination, queue, deadLetters, appended } = start(model);
      await load({ forMs: HOUR, everyMs: 2 * SECOND, traces, sender: (request) => `sender ${request % 3}` });
      expect(deadLetters.letters).toEqual([]);
      destination.model = () => taken();
      await drain(30 * MINUTE);
      expect(deadLetters.letters).toEqual([]);
      expect(queue.settled).toHaveLength(appended());
      expect(destination.overlaps.size).toBe(0);
    },
  );
});

describe('an upstream that takes nothing for an hour', () => {
  test.each([
    ['and is there', true, () => false],
    ['and is not there', false, () => false],
    ['but for 10 s in each minute', true, () => Date.now() % MINUTE < 10 * SECOND],
  ])('costs no span: %s', async (_name, isThere, isUp) => {
    const { load, drain, destination, queue, deadLetters, appended } = start(() => taken());
    await load({ forMs: 2 * MINUTE });
    destination.isThere = isThere;
    destination.model = () => (isUp() ? taken() : failed());
    await load({ forMs: HOUR, everyMs: 2 * SECOND });
    expect(deadLetters.letters).toEqual([]);
    destination.isThere = true;
    destination.model = () => taken();
    await drain(30 * MINUTE);
    expect(deadLetters.letters).toEqual([]);
    expect(queue.settled).toHaveLength(appended());
  });
});

describe('a trace of 30,000 spans, for which the upstream needs the longer the more it has of it', () => {
  const BIG = 1e6;

  /** The trace beside good ones, each request of it so much longer by each span that is stored. */
  function startBig(msEach: number, options: Partial<DeliveryOptions> = {}) {
    let stored = 0;
    const setting = start(
      ({ spans }) => {
        const mine = spans.filter(({ trace }) => trace === BIG).length;
        if (mine === 0) return taken(100);
        const ms = 200 + msEach * stored;
        if (ms >= 30_000) return failed(30_000, LATE);
        stored += mine;
        return taken(ms);
      },
      { maxBatchSpans: 500, ...options },
    );
    const sendBig = () => {
      for (let request = 0; request < 60; request++) {
        setting.queue.append(
          recordOf(
            Array.from({ length: 500 }, () => ({ trace: BIG })),
            { sender: 'good' },
          ),
        );
      }
    };
    return { ...setting, sendBig, storedOfIt: () => stored };
  }

  test.each([
    ['up to 12 s', 0.4, 8],
    ['up to 12 s, with one request at a time', 0.4, 1],
  ])(
    'arrives, is named on its way, and others go on at their pace: %s',
    async (_name, msEach, maxInFlight) => {
      const { load, sendBig, storedOfIt, delays, delivery, deadLetters, destination } = startBig(msEach, {
        maxInFlight,
      });
      await load({ forMs: MINUTE, everyMs: SECOND, traces: 2 });
      sendBig();
      await load({ forMs: 4 * MINUTE, everyMs: SECOND, traces: 2 });
      expect(delivery.slowTraces()).toMatchObject([
        { sender: 'good', reason: expect.stringContaining('larger than a request') },
      ]);
      await load({ forMs: 10 * MINUTE, everyMs: SECOND, traces: 2 });
      expect(storedOfIt()).toBe(30_000);
      expect(delivery.slowTraces()).toEqual([]);
      expect(deadLetters.letters).toEqual([]);
      expect(destination.overlaps.size).toBe(0);
      expect(delivery.limits().batchSpans).toBe(500);
      const all = delays();
      const bound = maxInFlight === 1 ? 13 * SECOND : 2 * STEP_MS;
      expect(all[Math.floor(all.length * 0.99)]).toBeLessThanOrEqual(bound);
    },
  );

  test('others do not wait for it where one request at a time is best', async () => {
    const { load, sendBig, destination, delivery, queue, storedOfIt, delays } = startBig(0.4, {
      maxBatchSpans: 100,
    });
    const { model } = destination;
    // One lock for all.
    destination.model = (request) => {
      const { ms, outcome } = model(request);
      return { ms: ms * (1 + request.others), outcome };
    };
    const backlog = Array.from({ length: 1000 }, (_, request) =>
      recordOf(Array.from({ length: 50 }, (_span, at) => other(2e6 + 50 * request + at))),
    );
    queue.append(...backlog);
    await load({ forMs: 2 * MINUTE, everyMs: SECOND, traces: 1 });
    expect(delivery.limits().requests).toBe(1);
    const since = Date.now();
    sendBig();
    await load({ forMs: 5 * MINUTE, everyMs: SECOND, traces: 1 });
    expect(delivery.limits().requests).toBe(1);
    expect(storedOfIt()).toBeGreaterThan(2_000);
    const all = delays(since);
    expect(all[Math.floor(all.length * 0.95)]).toBeLessThanOrEqual(3 * STEP_MS);
  });

  test('is named where it does not arrive, and others go on at their pace', async () => {
    const { load, sendBig, storedOfIt, delays, delivery, destination } = startBig(2);
    await load({ forMs: MINUTE, everyMs: SECOND, traces: 2 });
    sendBig();
    await load({ forMs: 20 * MINUTE, everyMs: SECOND, traces: 2 });
    expect(storedOfIt()).toBeGreaterThan(14_000);
    expect(delivery.slowTraces()).not.toEqual([]);
    expect(destination.overlaps.size).toBe(0);
    expect(delivery.limits().batchSpans).toBe(500);
    const all = delays();
    expect(all[Math.floor(all.length * 0.99)]).toBeLessThanOrEqual(2 * STEP_MS);
  });
});
