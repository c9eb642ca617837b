import { describe, expect, test } from 'vitest';
import type { DeliveryOptions } from '../../src/delivery/dispatcher.ts';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { DELIVERED, deliver, pass, useTimeOfTest, whole } from './dispatcher-support.ts';
import { recordOf, ScriptedDestination } from './support.ts';
import type { Call } from './support.ts';

useTimeOfTest();

const ANSWER_MS = 200;
const STEP_MS = 50;
const REFUSED: SendOutcome = { kind: 'refused', status: 400, reason: 'a bad span' };
const DOUBTED: SendOutcome = { kind: 'refused', status: 422, reason: 'a bad span', doubtful: true };

/** What the sender of bad spans does. */
type Load = {
  readonly requestsPerSecond: number;
  readonly tracesPerRequest: number;
  /** Requests that wait when all begins. */
  readonly backlog?: number;
  /** For how long it is alone first, in s. */
  readonly aloneFor?: number;
  /** What is said of a bad span. */
  readonly refusal?: SendOutcome;
};

const bad = (trace: number) => ({ trace, isRoot: true, name: 'marked' });

/** Answers after 200 ms, and refuses what has a bad span in it. @returns what is answered by `now` */
function answersOf(destination: ScriptedDestination, refusal = REFUSED) {
  const answersAt = new Map<Call, number>();
  return (now: number): number[] => {
    const taken: number[] = [];
    for (const call of destination.inFlight) {
      const at = answersAt.get(call) ?? now + ANSWER_MS - STEP_MS;
      answersAt.set(call, at);
      if (at > now) continue;
      const isBad = call.spans.some(({ facts }) => facts.includes('marked'));
      call.answer(isBad ? refusal : DELIVERED);
      if (!isBad) taken.push(...call.traces);
    }
    return taken;
  };
}

/**
 * A sender of 5 traces a second for so long, beside one whose spans are refused. @returns how many of its traces were not
 * delivered, and how long the others took, in ms; and how many requests of the other were held back
 */
async function besides(other: Load, seconds: number, options: Partial<DeliveryOptions> = {}) {
  const destination = new ScriptedDestination();
  const bounds = { windowSize: 64 * 1024 * 1024, maxBatchSpans: 1000 };
  const setting = deliver({ ...bounds, ...options }, destination);
  const { queue } = setting;
  const answer = answersOf(destination, other.refusal);
  const aloneFor = (other.aloneFor ?? 0) * 1000;
  const sentAt = new Map<number, number>();
  const delays: number[] = [];
  let trace = 0;
  let held = 0;
  const appendBad = () => {
    const from = (trace += other.tracesPerRequest);
    const spans = Array.from({ length: other.tracesPerRequest }, (_, at) => bad(1_000_000 + from + at));
    queue.append(recordOf(spans, { sender: 'bad' }));
  };
  const send = (now: number) => {
    if (now >= aloneFor && now % 200 === 0) {
      sentAt.set(++trace, now);
      queue.append(recordOf([{ trace, isRoot: true }, { trace }], { sender: 'good' }));
    }
    const before = Math.floor(((now - STEP_MS) * other.requestsPerSecond) / 1000);
    const due = Math.floor((now * other.requestsPerSecond) / 1000) - before;
    for (let count = 0; count < due; count++) {
      if (queue.heldSenders.has('bad')) held++;
      else appendBad();
    }
  };
  for (let count = 0; count < (other.backlog ?? 0); count++) appendBad();
  for (let now = 0; now < (seconds + 5) * 1000; now += STEP_MS) {
    for (const mine of answer(now)) {
      const sent = sentAt.get(mine);
      if (sent !== undefined && sentAt.delete(mine)) delays.push(now - sent);
    }
    if (now < seconds * 1000) send(now);
    await pass(STEP_MS);
  }
  delays.sort((a, b) => a - b);
  const p50 = delays[Math.floor(delays.length / 2)];
  return { ...setting, missing: sentAt.size, p50, longest: delays.at(-1), held };
}

describe('beside a sender whose spans are refused', () => {
  test.each([
    // Where one request at a time goes, it may wait for that of another, and three of four are for good traces.
    ['one a request, 5 requests a second', { requestsPerSecond: 5, tracesPerRequest: 1 }, [8, 2, 20]],
    ['one a request, 20 requests a second', { requestsPerSecond: 20, tracesPerRequest: 1 }, [8, 2, 20]],
    ['ten a request, 50 requests a second', { requestsPerSecond: 50, tracesPerRequest: 10 }, [8, 2, 20]],
    ['the same, with one request at a time', { requestsPerSecond: 50, tracesPerRequest: 10 }, [1, 4, 0]],
  ])('good traces take little longer than alone: %s', async (_name, load, bounds) => {
    const [maxInFlight, longestAnswers, leastLetters] = bounds as [number, number, number];
    const { missing, p50, longest, deadLetters } = await besides(load, 20, { maxInFlight });
    expect(missing).toBe(0);
    expect(p50).toBeLessThanOrEqual(2 * ANSWER_MS);
    expect(longest).toBeLessThanOrEqual(longestAnswers * ANSWER_MS + STEP_MS);
    expect(deadLetters.letters.length).toBeGreaterThanOrEqual(leastLetters);
    expect(deadLetters.letters.map(({ sender }) => sender)).not.toContain('good');
  });

  test('so are they where more bad ones come than can be looked through: their sender is held', async () => {
    const load = { requestsPerSecond: 50, tracesPerRequest: 10 };
    const { missing, p50, longest, held, queue } = await besides(load, 30, { windowSize: 1024 * 1024 });
    expect(missing).toBe(0);
    expect(p50).toBeLessThanOrEqual(2 * ANSWER_MS);
    expect(longest).toBeLessThanOrEqual(2 * ANSWER_MS + STEP_MS);
    expect(held).toBeGreaterThan(100);
    expect(queue.unread).toBe(0);
  });

  test.each([
    ['certain refusals', REFUSED, 0],
    ['certain refusals, and it was alone before', REFUSED, 10],
    ['doubtful refusals, and it was alone before', DOUBTED, 10],
  ])('so are they behind a backlog larger than the window: %s', async (_name, refusal, aloneFor) => {
    const load = { requestsPerSecond: 1, tracesPerRequest: 10, backlog: 2000, aloneFor, refusal };
    const { missing, p50, longest, queue, deadLetters } = await besides(load, aloneFor + 20, {
      windowSize: 2 * 1024 * 1024,
    });
    expect(missing).toBe(0);
    expect(p50).toBeLessThanOrEqual(2 * ANSWER_MS);
    // The first may have to wait until it is noticed, within a second, and for a probe of an upstream that was doubted.
    expect(longest).toBeLessThanOrEqual(3000);
    expect(queue.unread).toBe(0);
    expect(deadLetters.letters.map(({ sender }) => sender)).not.toContain('good');
    expect(deadLetters.letters.filter(({ reason }) => reason.startsWith('not sent'))).toEqual([]);
  });

  test.each([
    ['503', { kind: 'retry', reason: '503' }, 1],
    ['503, in a stream', { kind: 'retry', reason: '503' }, 20],
    ['403', { kind: 'blocked', reason: '403' }, 1],
    ['a time that is up', { kind: 'retry', reason: 'no answer', tooSlow: true }, 5],
  ] as const)('so are they where what it sends is answered %s', async (_name, refusal, requestsPerSecond) => {
    const load = { requestsPerSecond, tracesPerRequest: 2, refusal };
    const { missing, p50, longest, deadLetters } = await besides(load, 60);
    expect(missing).toBe(0);
    expect(p50).toBeLessThanOrEqual(2 * ANSWER_MS);
    // Until it is clear that it is not the upstream, which may be paused for a few times.
    expect(longest).toBeLessThanOrEqual(30_000);
    expect(deadLetters.letters).toEqual([]);
  });

  test('traces that it shares with others do not wait for its search, and are in one request at a time', async () => {
    const { queue, destination, deadLetters } = deliver({ maxBatchSpans: 1000 });
    const answer = answersOf(destination);
    const shared = 20;
    queue.append(recordOf([{ trace: 999, isRoot: true }], { sender: 'good' }));
    // Of each trace a bad span first, as of a tool that an agent calls; and many others.
    const spans = Array.from({ length: 100 }, (_, trace) => bad(trace));
    queue.append(recordOf(spans, { sender: 'bad' }));
    for (let now = 0; now < 10_000; now += STEP_MS) {
      const inFlight = [...destination.inFlight].flatMap(({ traces }) => traces);
      expect(new Set(inFlight).size).toBe(inFlight.length);
      answer(now);
      if (now === 2000) {
        for (let trace = 0; trace < shared; trace++) {
          queue.append(recordOf([{ trace, isRoot: true }, { trace }], { sender: 'good' }));
        }
      }
      await pass(STEP_MS);
    }
    expect(deadLetters.letters.length).toBeLessThan(100);
    const done = queue.settled.filter(({ sender }) => sender === 'good');
    expect(done).toHaveLength(1 + shared);
    // And the search comes to its end all the same.
    for (let now = 10_000; now < 600_000 && queue.settled.length < 2 + shared; now += STEP_MS) {
      answer(now);
      await pass(STEP_MS);
    }
    expect(queue.settled).toHaveLength(2 + shared);
    expect(deadLetters.letters.reduce((sum, { spanCount }) => sum + spanCount, 0)).toBe(100);
  });

  test('while the upstream is away nobody is held, and nothing becomes a dead letter', async () => {
    const { queue, destination, deadLetters } = deliver({ windowSize: 1024 * 1024 });
    queue.append(whole(1), recordOf([bad(2), bad(3)], { sender: 'bad' }));
    const answer = answersOf(destination);
    for (let now = 0; now < 400; now += STEP_MS) {
      answer(now);
      await pass(STEP_MS);
    }
    for (let second = 0; second < 120; second++) {
      for (const call of destination.inFlight) call.answer({ kind: 'retry', reason: 'away' });
      queue.append(whole(100 + second));
      const spans = Array.from({ length: 100 }, (_, at) => ({
        trace: 1e6 + 100 * second + at,
        isRoot: true,
      }));
      queue.append(recordOf(spans, { sender: 'bad' }));
      await pass(1000);
      expect(queue.heldSenders.size).toBe(0);
    }
    expect(deadLetters.letters).toEqual([]);
    // And afterwards it goes on.
    for (let now = 0; now < 60_000 && queue.settled.length < 242; now += STEP_MS) {
      answer(now);
      await pass(STEP_MS);
    }
    expect(queue.settled).toHaveLength(242);
    expect(deadLetters.letters.reduce((sum, { spanCount }) => sum + spanCount, 0)).toBe(2);
  });

  test('where the queue gives nothing more before a search ends, the search is given up, and costs no good span', async () => {
    const { queue, destination, deadLetters } = deliver({ maxBatchSpans: 1000, windowSize: 200_000 });
    const answer = answersOf(destination);
    queue.append(recordOf([{ trace: 1, isRoot: true }], { sender: 'good' }));
    // More than its part of the window: what has no room is put aside.
    for (let request = 0; request < 20; request++) {
      const spans = Array.from({ length: 40 }, (_, trace) => bad(100 + 40 * request + trace));
      queue.append(recordOf(spans, { sender: 'bad' }));
    }
    const runUntil = async (isDone: () => boolean) => {
      for (let now = 0; now < 60_000 && !isDone(); now += STEP_MS) {
        answer(now);
        await pass(STEP_MS);
      }
    };
    await runUntil(() => deadLetters.letters.length > 0);
    expect(deadLetters.letters[0]).toMatchObject({ sender: 'bad', reason: 'a bad span' });
    queue.isHeldBack = true;
    await runUntil(() => queue.settled.length === 21);
    expect(
      queue.settled
        .map(({ sender }) => sender)
        .toSorted()
        .at(-1),
    ).toBe('good');
    expect(deadLetters.letters.reduce((sum, { spanCount }) => sum + spanCount, 0)).toBe(20 * 40);
    const reasons = deadLetters.letters.map(({ reason }) => reason).join('\n');
    expect(reasons).toContain('not by itself');
    expect(reasons).toContain('not sent: more spans of this sender are refused than can be looked through');
    queue.isHeldBack = false;
    queue.append(recordOf([{ trace: 2, isRoot: true }], { sender: 'good' }));
    await runUntil(() => queue.settled.length === 22);
    expect(queue.settled).toHaveLength(22);
  });
});
