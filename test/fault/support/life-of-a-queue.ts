import { expect } from 'vitest';
import { RelayError } from '../../../src/errors.ts';
import type { Lease } from '../../../src/queue/queue.ts';
import type { FailingDisk } from './failing-disk.ts';
import { MemoryDisk } from './memory-disk.ts';
import {
  DIRECTORY,
  POSITIONS,
  SEGMENTS,
  letterOf,
  openOn,
  readAll,
  recordOf,
  settleAll,
  textOf,
} from './queue-in-memory.ts';
import { layoutOf } from './segment-layout.ts';

/** `mlflow` settles most of what it reads, so that segments are removed; `phoenix` gets some, and settles nothing. */
const BOTH = ['mlflow', 'phoenix'];
const DESTINATIONS = { destinations: BOTH };
const SPANS = 3;

/** Two of them fill a segment of 64 KiB. */
const record = (text: string, to: string[]) => recordOf(text, { bytes: 40_000, to });

/** What waits for `mlflow` in the log of before: not what was settled, nor what was damaged. */
const BACKLOG = ['old 2', 'old 3', 'old 4'];

/** Segments of before: one with a damaged record, one that ends in a write that was cut; and a dead letter. */
export async function logOfBefore(): Promise<ReadonlyMap<string, Buffer>> {
  const disk = new MemoryDisk();
  const { queue, reader } = await openOn(disk, DESTINATIONS);
  for (let i = 0; i < 5; i++) await queue.append([record(`old ${i}`, ['mlflow'])]);
  await queue.deadLetters.append([letterOf('old letter')]);
  settleAll((await readAll(reader)).slice(0, 1));
  const files = disk.files();
  const segments = [...files].filter(([path]) => path.startsWith(SEGMENTS)).toSorted();
  const [first, last] = [segments[0]!, segments.at(-1)!];
  const damagedRecord = layoutOf(first[1]).records[1]!;
  first[1][damagedRecord.end - 1]! ^= 1;
  files.set(last[0], Buffer.concat([last[1], Buffer.alloc(5000, 'a write that was cut')]));
  await queue.close();
  return new Map([...files, ...disk.files(POSITIONS)]);
}

/** What a queue has promised and given in a run. */
export type Life = {
  readonly stored: string[];
  readonly storedForPhoenix: string[];
  readonly failed: string[];
  readonly read: string[];
  /** What `mlflow` has to get after the next start. */
  unsettled: string[];
  letters: number;
};

export function newLife(): Life {
  return { stored: [], storedForPhoenix: [], failed: [], read: [], unsettled: [...BACKLOG], letters: 1 };
}

/**
 * All that a queue does, on a disk that fails somewhere on the way. Once it has failed it is healed, and from then on
 * the queue has to do everything it is asked for, without a restart.
 * @param pass lets so many seconds go by
 */
export async function live(
  disk: FailingDisk,
  life: Life,
  pass: (seconds: number) => Promise<void>,
): Promise<void> {
  let locks = 0;
  const lock = () => {
    locks++;
    return () => void locks--;
  };
  const opened = await openOn(disk, { ...DESTINATIONS, lock }).catch((error: unknown) => {
    expect(error).toBeInstanceOf(RelayError);
    expect(error).toMatchObject({ code: 'QUEUE_UNUSABLE' });
    expect(String(error)).toMatch(new RegExp(`cannot open the queue in ${DIRECTORY}.*: (EIO|ENOSPC): `));
    expect(locks).toBe(0);
  });
  if (opened === undefined) return;
  const { queue, reader } = opened;
  const leases: Lease[] = [];
  let isHealed = false;

  const heal = async () => {
    if (disk.failures === 0) return;
    isHealed = true;
    disk.heal();
    await pass(2);
    expect(queue.status().canAppend, 'the queue takes again').toBe(true);
  };
  const append = async (text: string, to: string[] = BOTH) => {
    const outcome = await queue.append([record(text, to)]);
    expect(isHealed ? ['stored'] : ['stored', 'failed']).toContain(outcome);
    if (outcome !== 'stored') return void life.failed.push(text);
    life.stored.push(text);
    if (to === BOTH) life.storedForPhoenix.push(text);
  };
  const bury = async (text: string) => {
    await queue.deadLetters.append([letterOf(text)]).then(
      () => life.letters++,
      (error: unknown) => {
        if (isHealed) throw error;
      },
    );
  };
  const read = async () => {
    for (const lease of await readAll(reader)) {
      lease.inHand();
      lease.outOfHand();
      leases.push(lease);
      life.read.push(textOf(lease));
    }
  };
  const settle = (count: number) => settleAll(leases.splice(0, count));

  for (const text of ['a', 'b', 'c']) await append(text, ['mlflow']);
  await read();
  settle(4);
  await bury('letter');
  await pass(1);
  await heal();
  await Promise.all(['d', 'e', 'f', 'g'].map((text) => append(text)));
  await read();
  settle(leases.length - 1);
  await pass(2);
  await heal();
  for (const text of ['h', 'i']) await append(text, ['mlflow']);
  await bury('another letter');
  await read();
  await pass(1);
  await heal();
  for (const text of ['j', 'k']) await append(text);
  await read();
  await heal();
  await read();
  expect(life.read, 'what was stored is read once, what was not is not').toEqual([
    ...BACKLOG,
    ...life.stored,
  ]);
  settle(leases.length - 1);
  life.unsettled = leases.map(textOf);
  await pass(1);
  expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(SPANS);
  expect(locks).toBe(1);
  await queue.close().catch((error: unknown) => expect(String(error)).toMatch(/EIO|ENOSPC/));
  expect(locks).toBe(0);
}

/** On a disk that works, all is there that was promised, in order and once; what was not may be there too. */
export async function expectNothingLost(disk: MemoryDisk, life: Life): Promise<void> {
  const { queue, reader } = await openOn(disk, DESTINATIONS);
  const forPhoenix = (await readAll(queue.reader('phoenix'))).map(textOf);
  expect(forPhoenix.filter((text) => !life.failed.includes(text))).toEqual(life.storedForPhoenix);
  expect(new Set(forPhoenix).size).toBe(forPhoenix.length);
  const forMlflow = (await readAll(reader)).map(textOf);
  expect(forMlflow.filter((text) => life.unsettled.includes(text))).toEqual(life.unsettled);
  expect(new Set(forMlflow).size).toBe(forMlflow.length);
  expect(queue.deadLetters.status().spans['mlflow']).toBeGreaterThanOrEqual(SPANS * life.letters);
  await queue.close();
}
