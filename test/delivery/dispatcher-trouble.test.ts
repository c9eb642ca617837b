import { describe, expect, test } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { deliver, DELIVERED, pass, quiet, useTimeOfTest, valueOf, whole } from './dispatcher-support.ts';
import { recordOf, ScriptedDestination } from './support.ts';
import type { Call } from './support.ts';

useTimeOfTest();

describe('an upstream that is away', () => {
  test('gets the same bytes again after a pause, in the end all', async () => {
    const { queue, destination, delivery, metrics, lines } = deliver();
    queue.append(whole(1));
    const first = await destination.nextCall();
    first.answer({ kind: 'retry', reason: 'connection refused' });
    await quiet();
    expect(delivery.state()).toMatchObject({ state: 'retrying', reason: 'connection refused' });
    expect(await valueOf(metrics.upstreamState, { state: 'retrying' })).toBe(1);
    expect(await valueOf(metrics.upstreamState, { state: 'up' })).toBe(0);
    await pass(249);
    expect(destination.calls).toHaveLength(1);
    await pass(252);
    const second = await destination.nextCall();
    expect(second.bytes).toEqual(first.bytes);
    second.answer(DELIVERED);
    await quiet();
    expect(queue.settled).toHaveLength(1);
    expect(delivery.state().state).toBe('up');
    expect(lines.filter(({ level }) => level !== 'debug').map(({ level, msg }) => [level, msg])).toEqual([
      ['warn', expect.stringContaining('does not take traces for now')],
      ['info', expect.stringContaining('again')],
    ]);
  });

  test('a pause is over in time though a longer wait was under way', async () => {
    const { queue, destination } = deliver();
    queue.append(recordOf([{ trace: 1 }]));
    await quiet();
    queue.append(whole(2));
    (await destination.nextCall()).answer({ kind: 'retry', reason: 'busy' });
    await pass(501);
    expect(destination.calls.map(({ traces }) => traces)).toEqual([[2], [2]]);
  });

  test('is left alone for as long as it asks', async () => {
    const { queue, destination } = deliver();
    queue.append(whole(1));
    (await destination.nextCall()).answer({ kind: 'retry', reason: 'busy', after: 20_000 });
    queue.append(whole(2));
    await pass(19_990);
    expect(destination.calls).toHaveLength(1);
    await pass(20);
    expect(destination.calls).toHaveLength(2);
  });

  test('gets one request at a time until one succeeds, and everything is kept, however long', async () => {
    const { queue, destination } = deliver({ maxBatchSpans: 2 });
    const records = Array.from({ length: 5 }, (_, trace) => whole(trace));
    queue.append(...records);
    await quiet();
    for (let second = 0; second < 300; second++) {
      for (const call of destination.inFlight) call.answer({ kind: 'retry', reason: 'no answer' });
      await pass(1000);
      expect(destination.inFlight.size).toBeLessThanOrEqual(1);
    }
    expect(queue.settled).toEqual([]);
    // A cap on the pauses: about one probe in 15 to 30 seconds.
    await pass(31_000);
    for (let round = 0; queue.settled.length < 5 && round < 20; round++) {
      for (const call of destination.inFlight) call.answer(DELIVERED);
      await pass(0);
    }
    expect(queue.settled).toHaveLength(5);
  });

  test('a batch that fails by itself does not keep the others from going', async () => {
    const { queue, destination } = deliver({ maxInFlight: 1, maxBatchSpans: 2 });
    const records = Array.from({ length: 30 }, (_, trace) => whole(trace));
    queue.append(...records);
    let failures = 0;
    for (let second = 0; second < 60; second++) {
      for (let call; (call = [...destination.inFlight][0]) !== undefined; await quiet()) {
        const isPoison = call.traces[0] === 0;
        if (isPoison) failures++;
        call.answer(isPoison ? { kind: 'retry', reason: '503' } : DELIVERED);
      }
      await pass(1000);
    }
    expect(queue.settled).toHaveLength(29);
    expect(failures).toBeGreaterThan(2);
    // Pauses that do not grow would let it try some sixty times.
    expect(failures).toBeLessThan(16);
  });

  test('while one batch never gets an answer, its late spans wait for it and others pass', async () => {
    const { queue, destination } = deliver();
    queue.append(whole(1));
    const slow = await destination.nextCall();
    queue.append(whole(1), whole(2));
    expect((await destination.nextCall()).traces).toEqual([2]);
    slow.answer({ kind: 'retry', reason: 'no answer within 60 s' });
    await pass(500);
    const again = await destination.nextCall();
    expect(again.bytes).toEqual(slow.bytes);
    again.answer(DELIVERED);
    expect((await destination.nextCall()).traces).toEqual([1]);
  });

  test('a bug in the destination costs no span', async () => {
    const { queue, destination, lines } = deliver();
    const send = destination.send.bind(destination);
    destination.send = async () => {
      destination.send = send;
      throw new Error('a bug');
    };
    queue.append(whole(1));
    await quiet();
    expect(lines.find(({ level }) => level === 'error')?.msg).toContain('bug');
    await pass(500);
    (await destination.nextCall()).answer(DELIVERED);
    await quiet();
    expect(queue.settled).toHaveLength(1);
  });
});

describe('an upstream that is set up wrong', () => {
  test('keeps all, is said once a minute with what to do, is probed, and takes all once it opens', async () => {
    const { queue, destination, delivery, lines } = deliver();
    queue.append(whole(1));
    await quiet();
    const since = Date.now();
    for (let second = 0; second < 600; second++) {
      for (const call of destination.inFlight) call.answer({ kind: 'blocked', reason: '403: no permission' });
      await pass(1000);
    }
    expect(delivery.state()).toEqual({ state: 'blocked', reason: '403: no permission', since });
    expect(queue.settled).toEqual([]);
    // The pauses grow to 30 to 60 seconds.
    expect(destination.calls.length).toBeGreaterThan(10);
    expect(destination.calls.length).toBeLessThan(30);
    const said = lines.filter(({ level }) => level === 'error');
    expect(said.length).toBeGreaterThan(4);
    expect(said.length).toBeLessThanOrEqual(11);
    expect(said[0]).toMatchObject({
      reason: '403: no permission',
      msg: expect.stringContaining('correct what the reason names'),
    });

    await pass(61_000);
    for (const call of destination.inFlight) call.answer(DELIVERED);
    await quiet();
    expect(delivery.state().state).toBe('up');
    expect(queue.settled).toHaveLength(1);
  });

  test('a token that ended is replaced at once; a second that is not taken blocks', async () => {
    const { queue, destination, delivery } = deliver();
    queue.append(whole(1));
    const first = await destination.nextCall();
    first.answer({ kind: 'unauthorized', reason: '401' });
    const second = await destination.nextCall();
    expect(second.bytes).toEqual(first.bytes);
    expect(delivery.state().state).toBe('unknown');
    second.answer({ kind: 'unauthorized', reason: '401 again' });
    await quiet();
    expect(delivery.state()).toMatchObject({ state: 'blocked', reason: '401 again' });
    await pass(900);
    expect(destination.calls).toHaveLength(2);
    await pass(1200);
    (await destination.nextCall()).answer({ kind: 'unauthorized', reason: '401' });
    (await destination.nextCall()).answer(DELIVERED);
    await quiet();
    expect(queue.settled).toHaveLength(1);
  });
});

describe('a batch that the upstream cannot store in time', () => {
  const LATE = { kind: 'retry', reason: 'no answer within 30 s', tooSlow: true } as const;

  /** Stores two spans in time, and no more. */
  async function run(isThere: boolean) {
    const destination = Object.assign(new ScriptedDestination(), {
      probe: async (): Promise<SendOutcome> => (isThere ? DELIVERED : LATE),
    });
    const { queue } = deliver({}, destination);
    queue.append(recordOf(Array.from({ length: 8 }, () => ({ trace: 1, isRoot: true }))));
    const before = new Set<Call>();
    for (let second = 0; second < 600 && queue.settled.length === 0; second++) {
      // No trace is in two requests, whatever the pieces.
      expect(destination.inFlight.size).toBeLessThanOrEqual(1);
      for (const call of destination.inFlight) {
        // Late after a second at least, in which a probe tells whether the upstream is there.
        if (before.has(call)) call.answer(call.spans.length > 2 ? LATE : DELIVERED);
        before.add(call);
      }
      await pass(1000);
    }
    return { destination, queue };
  }

  test('goes in halves, one after the other where they are of one trace', async () => {
    const { destination, queue } = await run(true);
    expect(queue.settled).toHaveLength(1);
    const delivered = destination.calls.filter(({ spans }) => spans.length <= 2);
    const ids = delivered.flatMap(({ spans }) => spans.map(({ id }) => id));
    expect(new Set(ids).size).toBe(8);
    expect(ids).toHaveLength(8);
  });

  test('stays whole while the upstream is not there at all', async () => {
    const { destination, queue } = await run(false);
    expect(queue.settled).toEqual([]);
    expect(destination.calls.every(({ spans }) => spans.length === 8)).toBe(true);
  });
});
