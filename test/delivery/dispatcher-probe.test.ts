import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { deliver, DELIVERED, pass, quiet, useTimeOfTest, valueOf, whole } from './dispatcher-support.ts';
import { ScriptedDestination } from './support.ts';

useTimeOfTest();

// Jitter would make each run another test.
beforeEach(() => {
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.9);
  return () => random.mockRestore();
});

const REFUSED: SendOutcome = { kind: 'retry', reason: 'connection refused' };

/** An upstream that answers probes by itself: with `probed`. */
class ProbedDestination extends ScriptedDestination {
  readonly probedAt: number[] = [];
  probed: () => Promise<SendOutcome> = async () => REFUSED;

  probe(): Promise<SendOutcome> {
    this.probedAt.push(performance.now());
    return this.probed();
  }
}

function deliverProbed(options: Parameters<typeof deliver>[0] = {}) {
  const destination = new ProbedDestination();
  /** Each batch under way fails, for as long. */
  async function failAll(outcome: SendOutcome, seconds: number): Promise<void> {
    for (let tenth = 0; tenth < seconds * 10; tenth++) {
      for (const call of destination.inFlight) call.answer(outcome);
      await pass(100);
    }
    for (const call of destination.inFlight) call.answer(outcome);
    await quiet();
  }
  return { ...deliver(options, destination), destination, failAll };
}

describe('an upstream that can be probed', () => {
  test('gets nothing but probes of under a second for most of an outage, and all once it is back', async () => {
    const { queue, destination, delivery, lines, metrics, failAll } = deliverProbed({ maxBatchSpans: 2 });
    const records = Array.from({ length: 5 }, (_, trace) => whole(trace));
    queue.append(...records);
    await failAll(REFUSED, 120);
    expect(destination.calls.length).toBeLessThan(20);
    const gaps = destination.probedAt.map((at, index) => at - (destination.probedAt[index - 1] ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(2000);
    expect(destination.probedAt.length).toBeGreaterThan(110);
    expect(delivery.state()).toMatchObject({ state: 'retrying', reason: 'connection refused' });

    const callsBefore = destination.calls.length;
    destination.probed = async () => DELIVERED;
    await pass(1000);
    // One tells whether batches go, too; until then nothing is said.
    expect(destination.inFlight.size).toBe(1);
    expect(delivery.state().state).toBe('retrying');
    for (let round = 0; queue.settled.length < 5 && round < 20; round++) {
      for (const call of destination.inFlight) call.answer(DELIVERED);
      await pass(0);
    }
    expect(queue.settled).toHaveLength(5);
    expect(destination.calls.length - callsBefore).toBe(5);
    expect(delivery.state().state).toBe('up');
    expect(lines.filter(({ msg }) => msg.includes('again')).map(({ level }) => level)).toEqual([
      'warn',
      'warn',
      'info',
    ]);

    const probes = destination.probedAt.length;
    await pass(10_000);
    expect(destination.probedAt).toHaveLength(probes);
    // A probe carries nothing: it is not among the requests that are counted.
    const requests = await metrics.upstreamSeconds.get();
    const counted = requests.values.filter(({ metricName }) => metricName?.endsWith('_count'));
    expect(counted.reduce((sum, { value }) => sum + value, 0)).toBe(destination.calls.length);
  });

  test('but takes no batches keeps its state, and its batches keep their growing pauses', async () => {
    const { queue, destination, delivery, lines, metrics, failAll } = deliverProbed();
    destination.probed = async () => DELIVERED;
    queue.append(whole(1), whole(2));
    await quiet();
    const fault: SendOutcome = { kind: 'retry', reason: 'the database is away' };
    await failAll(fault, 300);
    expect(delivery.state()).toMatchObject({ state: 'retrying', reason: 'the database is away' });
    expect(await valueOf(metrics.upstreamState, { state: 'retrying' })).toBe(1);
    expect(destination.calls.length).toBeLessThan(25);
    expect(lines.filter(({ level }) => level === 'info')).toEqual([]);
    expect(lines.filter(({ level }) => level === 'warn').length).toBeLessThanOrEqual(6);
  });

  test('gets neither batch nor probe before the time that it asks for, in whatever answer', async () => {
    const { queue, destination } = deliverProbed();
    const asks: SendOutcome = { kind: 'retry', reason: '503', after: 20_000 };
    queue.append(whole(1));
    (await destination.nextCall()).answer(asks);
    queue.append(whole(2));
    destination.probed = async () => asks;
    await pass(19_990);
    expect([destination.calls.length, destination.probedAt.length]).toEqual([1, 0]);
    await pass(20);
    expect([destination.calls.length, destination.probedAt.length]).toEqual([1, 1]);
    await pass(19_950);
    expect([destination.calls.length, destination.probedAt.length]).toEqual([1, 1]);
    destination.probed = async () => DELIVERED;
    await pass(50);
    expect(destination.inFlight.size).toBe(1);
  });

  test('and turns out to be set up wrong is told so, and gets no batch before a probe is answered', async () => {
    const { queue, destination, delivery } = deliverProbed();
    queue.append(whole(1));
    destination.probed = async () => ({ kind: 'unauthorized', reason: '401' });
    (await destination.nextCall()).answer(REFUSED);
    // The batch tries again before a probe does.
    await pass(500);
    (await destination.nextCall()).answer(REFUSED);
    await pass(900);
    // A token that is not taken is replaced once.
    expect(destination.probedAt).toHaveLength(2);
    expect(delivery.state()).toMatchObject({ state: 'blocked', reason: '401' });
    await pass(600_000);
    expect(destination.probedAt.length).toBeGreaterThan(20);
    expect(destination.probedAt.length).toBeLessThan(50);
    expect(destination.inFlight.size).toBe(0);

    destination.probed = async () => DELIVERED;
    await pass(60_000);
    for (const call of destination.inFlight) call.answer(DELIVERED);
    await quiet();
    expect(delivery.state().state).toBe('up');
  });

  test('a bug in the probe costs nothing', async () => {
    const { queue, destination, lines, failAll } = deliverProbed();
    destination.probed = () => Promise.reject(new Error('a bug'));
    queue.append(whole(1));
    await failAll(REFUSED, 5);
    expect(lines.find(({ level }) => level === 'error')?.msg).toContain('bug');
    await pass(30_000);
    for (const call of destination.inFlight) call.answer(DELIVERED);
    await quiet();
    expect(queue.settled).toHaveLength(1);
  });

  test('is not waited for when the relay stops', async () => {
    const { queue, destination, delivery, failAll } = deliverProbed();
    destination.probed = () => new Promise(() => undefined);
    queue.append(whole(1));
    await failAll(REFUSED, 3);
    expect(destination.probedAt).toHaveLength(1);
    for (const call of destination.inFlight) call.answer(REFUSED);
    await delivery.stop(10_000);
    await pass(60_000);
    expect(destination.probedAt).toHaveLength(1);
    expect(destination.inFlight.size).toBe(0);
  });
});
