import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { AfterStop } from '../support/model-disk.ts';
import { ModelDisk } from '../support/model-disk.ts';
import { seeded } from '../support/random.ts';
import { howMany, isLong, progress } from '../support/run.ts';
import { Life, quiet } from './ledger-life.ts';

const FIRST_SEED = Number(process.env['FAULT_SEED'] ?? Date.now() % 2 ** 31);

/** A number of which each bit says whether the span, or letter, of that number is chosen. */
type Chosen = number;
const chosenBy = (chosen: Chosen) => (index: number) => (chosen & (1 << (index % 16))) !== 0;

type Action =
  | { readonly do: 'append'; readonly spans: number; readonly bytes: number }
  | { readonly do: 'deliver' | 'bury'; readonly record: number; readonly spans: Chosen }
  | { readonly do: 'replay' | 'discard'; readonly letters: Chosen }
  | { readonly do: 'wait'; readonly seconds: number }
  | { readonly do: 'trouble'; readonly calls: number };

type End =
  | { readonly by: 'power loss' | 'kill'; readonly afterCalls: number; readonly afterwards: AfterStop }
  | { readonly by: 'close' };

/** Actions of one process, and how it ends: the disk stops before one of them, which is told by its number. */
type Round = {
  readonly actions: readonly Action[];
  readonly stopsAt: number;
  readonly end: End;
  /** Calls of starts after it that are cut off. */
  readonly starts: readonly number[];
};

const chosen = fc.nat(2 ** 16 - 1);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      spans: fc.integer({ min: 1, max: 9 }),
      bytes: fc.oneof(fc.nat(300), fc.nat(40_000)),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom('deliver' as const, 'bury' as const),
      record: fc.nat(8),
      spans: fc.oneof(chosen, fc.constant(2 ** 16 - 1)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('replay' as const, 'discard' as const),
      letters: chosen,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.constantFrom(1, 2, 7) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('trouble' as const), calls: fc.integer({ min: 1, max: 6 }) }),
  },
);
const end: fc.Arbitrary<End> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ by: fc.constant('close' as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      by: fc.constantFrom('power loss' as const, 'kill' as const),
      afterCalls: fc.oneof(fc.nat(12), fc.nat(80)),
      afterwards: fc.constantFrom('hangs' as const, 'fails' as const),
    }),
  },
);
const anyRound: fc.Arbitrary<Round> = fc.record({
  actions: fc.array(action, { maxLength: 14, size: 'max' }),
  stopsAt: fc.nat(14),
  end,
  starts: fc.array(fc.nat(150), { maxLength: 2 }),
});

async function carryOut(life: Life, step: Action): Promise<void> {
  switch (step.do) {
    case 'append':
      await life.append(step.spans, step.bytes);
      return life.read();
    case 'deliver':
      return life.deliver(step.record, chosenBy(step.spans));
    case 'bury':
      return life.bury(step.record, chosenBy(step.spans));
    case 'replay':
    case 'discard':
      return life.remove(step.do, chosenBy(step.letters));
    case 'trouble':
      return life.failNext(step.calls);
    case 'wait':
      for (let second = 0; second < step.seconds; second++) await life.wait();
  }
}

/** On a disk that has stopped, work may never end, or fail. @returns whether it has ended */
async function untilOver(work: Promise<void>, life: Life): Promise<boolean> {
  const over: { isDone: boolean; failure?: unknown } = { isDone: false };
  work.then(
    () => (over.isDone = true),
    (failure: unknown) => (over.failure = failure),
  );
  while (!over.isDone && over.failure === undefined && !life.stopped) await quiet();
  await quiet();
  if (over.failure !== undefined && !life.stopped) throw over.failure;
  return over.isDone && !life.stopped;
}

async function run(rounds: readonly Round[], seed: number): Promise<string> {
  const random = seeded(seed);
  const life = new Life(new ModelDisk(random));
  for (const { actions, stopsAt, end: how, starts } of rounds) {
    await life.start();
    const work = async () => {
      for (const [index, step] of actions.entries()) {
        if (index === stopsAt && how.by !== 'close') life.stopAfter(how.afterCalls, how.afterwards);
        if (life.stopped) return;
        await carryOut(life, step);
      }
      life.failNext(0);
      if (how.by === 'close') await life.close();
    };
    await untilOver(work(), life);
    if (how.by !== 'close') life.end(how.by, random);
    for (const calls of starts)
      await life.startInPart(calls, random.chance(0.5) ? 'kill' : 'power loss', random);
  }
  await life.start();
  await life.close();
  await life.start();
  return 'all accounted for';
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const RULE =
  'no span is lost, none that left as a letter is sent or lettered again, and none comes back that was discarded';

test(`wherever power is lost or the relay killed, ${RULE}`, { timeout: 30 * 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyRound, { minLength: 1, maxLength: 5 }),
      fc.nat(2 ** 31 - 1),
      async (rounds, seed) => {
        expect(await run(rounds, seed)).toBe('all accounted for');
      },
    ),
    { numRuns: howMany({ short: 150, long: 5000 }), seed: FIRST_SEED },
  );
});

/** A record with bad spans behind one that stays open, and all that may become of their letters. */
const LIFE: readonly Action[] = [
  ...[3, 5, 4, 2].map((spans): Action => ({ do: 'append', spans, bytes: 100 })),
  { do: 'bury', record: 1, spans: 0b00010 },
  { do: 'deliver', record: 1, spans: 0b01101 },
  { do: 'bury', record: 2, spans: 0b1111 },
  { do: 'discard', letters: 0b01 },
  { do: 'bury', record: 1, spans: 0b10000 },
  { do: 'replay', letters: 0b10 },
  { do: 'deliver', record: 0, spans: 0b110 },
  { do: 'wait', seconds: 7 },
  { do: 'discard', letters: 0b100 },
  { do: 'deliver', record: 0, spans: 0b001 },
  { do: 'wait', seconds: 2 },
];

test.each(['power loss', 'kill'] as const)(
  `at each call of the disk by which %s may end a life with letters, ${RULE}`,
  { timeout: 30 * 60_000 },
  async (by) => {
    const seeds = howMany({ short: 1, long: 40 });
    let ends = 0;
    for (let seed = 0; seed < seeds; seed++) {
      for (let afterCalls = 0, isOver = false; !isOver; afterCalls++, ends++) {
        isOver = await endsBefore(afterCalls);
        const round = {
          actions: LIFE,
          stopsAt: 0,
          starts: [],
          end: { by, afterCalls, afterwards: 'hangs' },
        } as const;
        expect(await run([round], FIRST_SEED + seed)).toBe('all accounted for');
      }
    }
    expect(ends).toBeGreaterThan(100);
    if (isLong) progress(`${by}: ${ends} ends`);
  },
);

/** Whether the life is over before the disk has done so many calls. */
async function endsBefore(calls: number): Promise<boolean> {
  const life = new Life(new ModelDisk(seeded(FIRST_SEED)));
  await life.start();
  life.stopAfter(calls, 'hangs');
  const work = async () => {
    for (const step of LIFE) await carryOut(life, step);
  };
  const isOver = await untilOver(work(), life);
  life.end('kill', seeded(0));
  return isOver;
}
