import fc from 'fast-check';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { deliver, DELIVERED, pass, quiet, useTimeOfTest, valueOf, whole } from './dispatcher-support.ts';
import { recordOf } from './support.ts';

useTimeOfTest();

describe('the way of a trace', () => {
  test('goes the moment its root is read, settles when it is delivered, and is counted', async () => {
    const { queue, destination, metrics, delivery } = deliver();
    const record = whole(1);
    queue.append(record);
    const call = await destination.nextCall();
    expect(call.bytes).toEqual(Buffer.from(record.payload));
    expect(call.target.description).toBe('experiment default');
    expect(queue.settled).toEqual([]);

    call.answer(DELIVERED);
    await quiet();
    expect(queue.settled).toEqual([record]);
    expect(await valueOf(metrics.deliveredSpans, { destination: 'mlflow' })).toBe(2);
    expect(await valueOf(metrics.upstreamState, { state: 'up' })).toBe(1);
    expect(delivery.state()).toEqual({ state: 'up', since: expect.any(Number) });
    const requests = await metrics.upstreamSeconds.get();
    expect(requests.values.at(-1)).toMatchObject({
      value: 1,
      labels: { destination: 'mlflow', outcome: 'delivered' },
    });
  });

  test('without its root it goes when its time is up, no earlier', async () => {
    const { queue, destination } = deliver();
    queue.append(recordOf([{ trace: 1 }]));
    await quiet();
    await pass(4990);
    expect(destination.calls).toHaveLength(0);
    await pass(10);
    expect(destination.calls).toHaveLength(1);
  });

  test('its time is up by the clock only when all that came is read', async () => {
    const { queue, destination } = deliver();
    queue.append(recordOf([{ trace: 1 }]));
    await quiet();
    const next = queue.next.bind(queue);
    const disk = Promise.withResolvers<void>();
    queue.next = async () => {
      await disk.promise;
      return await next();
    };
    queue.append(recordOf([{ trace: 1, isRoot: true }]));
    await pass(5000);
    expect(destination.calls).toHaveLength(0);
    disk.resolve();
    expect((await destination.nextCall()).spans).toHaveLength(2);
  });

  test('a clock that is set back makes nothing wait longer', async () => {
    const { queue, destination } = deliver();
    queue.append(recordOf([{ trace: 1 }]));
    await quiet();
    vi.setSystemTime(Date.now() - 3_600_000);
    queue.append(recordOf([{ trace: 2 }]));
    await pass(5000);
    expect(destination.calls.flatMap(({ traces }) => traces)).toEqual([1, 2]);
  });

  test('reading a backlog lets others have their turn', async () => {
    const { queue } = deliver({ windowSize: 1e9 });
    const record = recordOf([{ trace: 1 }]);
    queue.append(...Array.from({ length: 5000 }, () => record));
    await setImmediate();
    await setImmediate();
    expect(queue.unread).toBeGreaterThan(0);
    await quiet();
    expect(queue.unread).toBe(0);
  });

  test('a queue that cannot be read for a while is read again', async () => {
    const { queue, destination, lines } = deliver();
    const next = queue.next.bind(queue);
    queue.next = () => Promise.reject(new Error('EIO: i/o error, read'));
    queue.append(whole(1));
    await quiet();
    await pass(5000);
    expect(lines).toMatchObject([{ level: 'error', reason: 'EIO: i/o error, read' }]);
    queue.next = next;
    await pass(1000);
    expect(destination.calls).toHaveLength(1);
  });

  test('what gathers while requests are under way is the next batch', async () => {
    const { queue, destination } = deliver({ maxInFlight: 1 });
    queue.append(whole(1));
    const first = await destination.nextCall();
    queue.append(whole(2), whole(3));
    queue.append(whole(4));
    await quiet();
    expect(destination.calls).toHaveLength(1);
    first.answer(DELIVERED);
    expect((await destination.nextCall()).traces).toEqual([2, 3, 4]);
  });

  test('records settle when the last of their spans does, whatever the order of the answers', async () => {
    const { queue, destination } = deliver({ maxBatchSpans: 1 });
    const [a, b] = [
      recordOf([
        { trace: 1, isRoot: true },
        { trace: 2, isRoot: true },
      ]),
      recordOf([{ trace: 3, isRoot: true }]),
    ];
    queue.append(a, b);
    const [first, second] = [await destination.nextCall(), await destination.nextCall()];
    second.answer(DELIVERED);
    (await destination.nextCall()).answer(DELIVERED);
    await quiet();
    expect(queue.settled).toEqual([b]);
    expect(queue.doneSpans).toBe(2); // one of the record that is not settled yet
    first.answer(DELIVERED);
    await quiet();
    expect(queue.settled).toEqual([b, a]);
    expect(queue.doneSpans).toBe(3);
  });

  test('a partial success settles, is counted, and is said once a minute', async () => {
    const { queue, destination, metrics, lines } = deliver();
    const answerNext = async (rejectedSpans: number) =>
      (await destination.nextCall()).answer({ kind: 'delivered', rejectedSpans, message: 'too long' });
    queue.append(whole(1));
    await answerNext(1);
    queue.append(whole(2));
    // More than there were: counted for as many as there were.
    await answerNext(99);
    await pass(60_000);
    queue.append(whole(3));
    await answerNext(1);
    await quiet();
    expect(queue.settled).toHaveLength(3);
    expect(await valueOf(metrics.deliveredSpans)).toBe(2);
    expect(await valueOf(metrics.rejectedSpans)).toBe(4);
    const said = lines.filter(({ level }) => level === 'warn');
    expect(said.map(({ spans, reason }) => [spans, reason])).toEqual([
      [1, 'too long'],
      [3, 'too long'],
    ]);
  });

  test('a full window of traces whose roots never come moves on, and is refilled from the queue', async () => {
    const { queue, destination } = deliver({ windowSize: 8000, maxBatchSpans: 4 });
    queue.append(...Array.from({ length: 50 }, (_, trace) => recordOf([{ trace }])));
    await quiet();
    expect(queue.unread).toBeGreaterThan(40);
    while (queue.settled.length < 44) {
      (await destination.nextCall()).answer(DELIVERED);
      await quiet();
    }
    // What is left does not fill the window any more.
    expect(queue.unread).toBe(0);
    await pass(5000);
    for (const call of destination.inFlight) call.answer(DELIVERED);
    await quiet();
    expect(queue.settled).toHaveLength(50);
  });

  test('an empty record is settled as it is', async () => {
    const { queue, destination } = deliver();
    queue.append(recordOf([]));
    await quiet();
    expect(queue.settled).toHaveLength(1);
    expect(destination.calls).toHaveLength(0);
  });

  test('a record that cannot be read becomes a dead letter, and those behind it go on', async () => {
    const { queue, destination, deadLetters } = deliver();
    const bad = { ...whole(1), payload: Uint8Array.of(0x0a, 0x7f) };
    queue.append(bad, whole(2));
    expect((await destination.nextCall()).traces).toEqual([2]);
    expect(deadLetters.letters).toMatchObject([
      { payload: bad.payload, spanCount: 2, sender: 'agent', attempts: 0 },
    ]);
    expect(queue.settled).toEqual([bad]);
  });
});

test('whatever the upstream answers, no trace is in two requests at once, and every span ends once', async () => {
  const trace = fc.nat(5);
  const record = fc.array(fc.record({ trace, isRoot: fc.boolean() }), { minLength: 1, maxLength: 6 });
  const answer = fc.record({
    which: fc.nat(7),
    kind: fc.constantFrom(
      'delivered' as const,
      'delivered' as const,
      'retry' as const,
      'refused' as const,
      'blocked' as const,
    ),
    later: fc.constantFrom(0, 0, 300, 3000),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { maxLength: 20 }),
      fc.array(answer, { maxLength: 40 }),
      async (records, answers) => {
        const { queue, destination, delivery } = deliver({
          maxBatchSpans: 4,
          windowSize: 3000,
          maxInFlight: 3,
        });
        queue.append(
          ...records.map((spans, index) => recordOf(spans, { route: index % 3 === 0 ? 'a' : 'b' })),
        );
        const appended = queue.unread;
        const ended: number[] = [];
        const step = async ({
          which,
          kind,
          later,
        }: {
          which: number;
          kind: SendOutcome['kind'];
          later: number;
        }) => {
          await pass(later);
          const calls = [...destination.inFlight];
          const traces = calls.flatMap((call) => call.traces);
          expect(new Set(traces).size).toBe(traces.length);
          expect(calls.length).toBeLessThanOrEqual(3);
          const call = calls[which % Math.max(1, calls.length)];
          if (call === undefined) return;
          // What is refused with others goes again without them.
          const isEnd = kind === 'delivered' || (kind === 'refused' && call.spans.length === 1);
          if (isEnd) ended.push(...call.spans.map(({ id }) => id));
          call.answer(answerOf(kind));
        };
        for (const next of answers) await step(next);
        for (let rest = 0; queue.settled.length < appended && rest < 500; rest++) {
          await step({ which: 0, kind: 'delivered', later: 1000 });
        }
        expect(queue.settled).toHaveLength(appended);
        expect(new Set(queue.settled).size).toBe(appended);
        expect(ended).toHaveLength(records.flat().length);
        expect(new Set(ended).size).toBe(ended.length);
        await delivery.stop(0);
      },
    ),
    { numRuns: 60 },
  );
});

function answerOf(kind: SendOutcome['kind']): SendOutcome {
  if (kind === 'delivered') return DELIVERED;
  return kind === 'refused' ? { kind, status: 400, reason: kind } : { kind, reason: kind };
}
