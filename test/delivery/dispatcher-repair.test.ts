import { describe, expect, test } from 'vitest';
import type { RepairWork, SendOutcome } from '../../src/destinations/destination.ts';
import { answerAll, deliver, DELIVERED, useTimeOfTest, valueOf } from './dispatcher-support.ts';
import { decode, encode, recordOf, ScriptedDestination, traceIdOf } from './support.ts';
import type { Call } from './support.ts';

useTimeOfTest();

const DEFINITE = { kind: 'refused', status: 400, reason: '400: bad' } as const;

const tooLong = (call: Call) => call.spans.some(({ facts }) => facts.includes('much too long'));
const cursed = (call: Call) => call.traces.includes(13);

/** Mended spans of two traces are refused all the same, for what is not in them. */
const tellElsewhere = (call: Call): SendOutcome => {
  if (tooLong(call)) return DEFINITE;
  const elsewhere = [2, 3].find((trace) => call.traces.includes(trace));
  return elsewhere === undefined
    ? DELIVERED
    : {
        kind: 'refused',
        status: 400,
        reason: `${elsewhere} is elsewhere`,
        traces: [traceIdOf(elsewhere)],
      };
};

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

  test('has each span in one place of the account, where a trace is refused as well', async () => {
    const { queue, destination, deadLetters, metrics } = deliver({}, new Mending());
    const long = { isRoot: true, name: 'much too long' };
    queue.append(
      recordOf([
        { trace: 1, isRoot: true },
        { trace: 2, isRoot: true },
        ...[3, 4, 5].map((trace) => Object.assign({ trace }, long)),
      ]),
    );
    await answerAll(destination, tellElsewhere, { until: () => queue.settled.length === 1 });
    const { repaired = [], refused = [] } = Object.groupBy(deadLetters.letters, (letter) =>
      letter.repaired === undefined ? 'refused' : 'repaired',
    );
    expect(refused.map(({ reason }) => reason)).toEqual(['2 is elsewhere', '3 is elsewhere']);
    expect(repaired).toMatchObject([{ spanCount: 2, reason: '400: bad', repaired: 'name: cut' }]);
    expect(await valueOf(metrics.deliveredSpans)).toBe(1);
    expect(await valueOf(metrics.repairedSpans)).toBe(2);
    expect(queue.doneSpans).toBe(5);
  });

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

  test('keeps the spans of a record that were mended in one letter', async () => {
    const { queue, destination, deadLetters } = deliver({}, new Mending());
    const record = recordOf(
      ['much too long', 'good', 'much too long'].map((name, trace) => ({ trace, isRoot: true, name })),
    );
    queue.append(record);
    const until = () => queue.settled.length === 1;
    await answerAll(destination, (call) => (tooLong(call) ? DEFINITE : DELIVERED), { until });
    expect(deadLetters.letters).toMatchObject([{ spanCount: 2, repaired: 'name: cut' }]);
    const all = decode(record.payload);
    expect(decode(deadLetters.letters[0]?.payload ?? new Uint8Array())).toEqual([all[0], all[2]]);
  });

  test('has the same work for all records of a batch, and is not asked once that is done', async () => {
    const seen: (RepairWork | undefined)[] = [];
    const busy = Object.assign(new ScriptedDestination(), {
      repair: (_payload: Uint8Array, work?: RepairWork) => {
        seen.push(work);
        if (work !== undefined && seen.length === 2) work.left = 0;
        return undefined;
      },
    });
    const { queue, destination } = deliver({}, busy);
    const records = [1, 2, 3].map((trace) => recordOf([{ trace: 13 }, { trace, isRoot: true }]));
    queue.append(...records, recordOf([{ trace: 13, isRoot: true }]));
    const until = () => queue.settled.length === 4;
    await answerAll(destination, (call) => (cursed(call) ? DEFINITE : DELIVERED), { until });
    expect(seen).toEqual([{ left: 0 }, { left: 0 }]);
    expect(seen[0]).toBe(seen[1]);
  });

  test('and cannot, for a bug of its own: the bad span is looked for', async () => {
    const broken = Object.assign(new ScriptedDestination(), {
      repair: () => {
        throw new Error('a bug');
      },
    });
    const { queue, destination, deadLetters, lines } = deliver({}, broken);
    queue.append(recordOf([{ trace: 13, isRoot: true }]), recordOf([{ trace: 1, isRoot: true }]));
    const until = () => queue.settled.length === 2;
    await answerAll(destination, (call) => (cursed(call) ? DEFINITE : DELIVERED), { until });
    expect(deadLetters.letters).toHaveLength(1);
    expect(lines.find(({ level }) => level === 'error')?.msg).toContain('could not be mended');
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
