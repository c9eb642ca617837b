import { beforeAll, describe, expect, test, vi } from 'vitest';
import { CALLS, FailingDisk } from '../support/failing-disk.ts';
import type { Call, Fault } from '../support/failing-disk.ts';
import { pass, useFakeTimers } from '../support/fake-time.ts';
import { expectNothingLost, live, logOfBefore, newLife } from '../support/life-of-a-queue.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { howMany, progress } from '../support/run.ts';

/** A limit for what hangs. */
vi.setConfig({ testTimeout: 600_000 });

/** In a short run every fourth call fails in its turn; which ones these are differs from fault to fault. */
const STEP = howMany({ short: 4, long: 1 });

const FAULTS: readonly Pick<Fault, 'lasts' | 'code' | 'effect'>[] = [
  { lasts: false, code: 'EIO', effect: 'none' },
  { lasts: true, code: 'EIO', effect: 'none' },
  { lasts: false, code: 'EIO', effect: 'all' },
  { lasts: true, code: 'EIO', effect: 'all' },
  { lasts: false, code: 'ENOSPC', effect: 'half' },
  { lasts: true, code: 'ENOSPC', effect: 'half' },
];
const words = { none: 'in vain', all: 'done nevertheless', half: 'a write half done' };

let files: ReadonlyMap<string, Buffer>;
beforeAll(async () => {
  files = await logOfBefore();
});

useFakeTimers();

/** @returns the disk, after a run and a start on it without faults */
async function liveThrough(...faults: Fault[]): Promise<FailingDisk> {
  const memory = new MemoryDisk(files);
  const disk = new FailingDisk(memory, faults);
  const life = newLife();
  await live(disk, life, pass);
  expect(disk.openHandles).toBe(0);
  expect(disk.syncedAgain).toEqual([]);
  await expectNothingLost(memory, life);
  return disk;
}

/** What a run without a fault needs. Up to its fault, any other run makes the same calls. */
let needed: ReadonlyMap<Call, number> | undefined;
async function callsNeeded(call: Call): Promise<number> {
  needed ??= (await liveThrough()).counts;
  return needed.get(call) ?? 0;
}

async function failuresAt(fault: Fault, ...others: Fault[]): Promise<number> {
  try {
    return (await liveThrough(fault, ...others)).failures;
  } catch (error) {
    throw new Error(`at ${fault.call} number ${fault.nth}: ${String(error)}`, { cause: error });
  }
}

test('without a fault each call is made, and nothing fails', async () => {
  const { counts, failures } = await liveThrough();
  expect([...counts.keys()].toSorted()).toEqual([...CALLS].toSorted());
  expect(failures).toBe(0);
});

describe.each(FAULTS)('$code, lasting: $lasts, effect: $effect', (how) => {
  test.each(CALLS)('at each %s in turn', async (call) => {
    const count = await callsNeeded(call);
    for (let nth = 1 + (FAULTS.indexOf(how) % STEP); nth <= count; nth += STEP) {
      expect(await failuresAt({ ...how, call, nth })).toBeGreaterThan(0);
    }
    const times = how.lasts ? 'until the disk was healed' : 'once';
    progress(`${how.code} ${times}, ${words[how.effect]}, at each ${call}: ${count} runs`);
  });
});

test('at each write in turn, while files are removed and yet said not to be', async () => {
  const removed: Fault = { call: 'remove', nth: 1, lasts: true, code: 'EIO', effect: 'all' };
  const count = await callsNeeded('write');
  for (let nth = 1; nth <= count; nth++) {
    const write: Fault = { call: 'write', nth, lasts: false, code: 'EIO', effect: 'none' };
    expect(await failuresAt(write, removed)).toBeGreaterThan(0);
  }
});
