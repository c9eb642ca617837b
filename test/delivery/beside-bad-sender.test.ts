import { describe, expect, test } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { DELIVERED, deliver, pass, useTimeOfTest } from './dispatcher-support.ts';
import { recordOf, ScriptedDestination } from './support.ts';
import type { Call } from './support.ts';

useTimeOfTest();

const ANSWER_MS = 200;
const STEP_MS = 50;
const REFUSED: SendOutcome = { kind: 'refused', status: 400, reason: 'a bad span' };

type Load = {
  readonly requestsPerSecond: number;
  readonly tracesPerRequest: number;
  readonly isBad?: boolean;
};

/**
 * A sender of 5 traces a second for so long, beside another one, at an upstream that answers in 200 ms and refuses what
 * has a bad span in it. @returns how long each of its traces took, in ms, until the upstream had taken it
 */
async function besides(other: Load, seconds: number, limit = 8) {
  const destination = new ScriptedDestination();
  const setting = deliver(
    { windowSize: 64 * 1024 * 1024, maxBatchSpans: 1000, maxInFlight: limit },
    destination,
  );
  const sentAt = new Map<number, number>();
  const delays: number[] = [];
  const answersAt = new Map<Call, number>();
  let trace = 0;
  let otherDue = 0;
  for (let now = 0; now < (seconds + 5) * 1000; now += STEP_MS) {
    for (const call of destination.inFlight) {
      const at = answersAt.get(call) ?? now + ANSWER_MS - STEP_MS;
      answersAt.set(call, at);
      if (at > now) continue;
      const isBad = call.spans.some(({ facts }) => facts.includes('marked'));
      call.answer(isBad ? REFUSED : DELIVERED);
      if (isBad) continue;
      for (const mine of call.traces) {
        const sent = sentAt.get(mine);
        if (sent !== undefined && sentAt.delete(mine)) delays.push(now - sent);
      }
    }
    if (now < seconds * 1000) {
      if (now % 200 === 0) {
        sentAt.set(++trace, now);
        setting.queue.append(recordOf([{ trace, isRoot: true }, { trace }], { sender: 'good' }));
      }
      for (; otherDue <= now; otherDue += 1000 / other.requestsPerSecond) {
        const spans = Array.from({ length: other.tracesPerRequest }, () => ({
          trace: 1_000_000 + ++trace,
          isRoot: true,
          ...(other.isBad !== false && { name: 'marked' }),
        }));
        setting.queue.append(recordOf(spans, { sender: 'bad' }));
      }
    }
    await pass(STEP_MS);
  }
  delays.sort((a, b) => a - b);
  return {
    ...setting,
    missing: sentAt.size,
    delays,
    p50: delays[Math.floor(delays.length / 2)],
    longest: delays.at(-1),
  };
}

describe('beside a sender whose spans are refused', () => {
  test.each([
    ['one a request, 5 requests a second', { requestsPerSecond: 5, tracesPerRequest: 1 }, 8],
    ['one a request, 20 requests a second', { requestsPerSecond: 20, tracesPerRequest: 1 }, 8],
    ['ten a request, 50 requests a second', { requestsPerSecond: 50, tracesPerRequest: 10 }, 8],
    ['the same, with one request at a time', { requestsPerSecond: 50, tracesPerRequest: 10 }, 1],
  ])('good traces take little longer than alone: %s', async (_name, load, maxInFlight) => {
    const { missing, p50, longest, deadLetters } = await besides(load, 20, maxInFlight);
    expect(missing).toBe(0);
    expect(p50).toBeLessThanOrEqual(2 * ANSWER_MS);
    // The first is refused beside bad spans; with one request at a time it waits for that of another, too.
    expect(longest).toBeLessThanOrEqual((maxInFlight === 1 ? 4 : 2) * ANSWER_MS + STEP_MS);
    expect(deadLetters.letters.length).toBeGreaterThan(2);
    expect(new Set(deadLetters.letters.map(({ sender }) => sender))).toEqual(new Set(['bad']));
  });
});
