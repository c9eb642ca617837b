import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../../../src/errors.ts';
import type { Store } from './store.ts';

/** The store itself, until it takes no more; or another program, while the store has room of its own left. */
export const FILLERS = ['its records', 'another program'] as const;
export type Filler = (typeof FILLERS)[number];

/** What a store can still do when nothing fits on its disk any more: `yes`, or why not. */
export type FullDiskFacts = {
  /** Records that were on it. */
  records: number;
  removesHalf: string;
  /** After what was removed, which is all the room that there is. */
  takesAgain: string;
};

/** For two seconds: the log tries again after one. */
const TRIES = 40;
const TRY_AGAIN_MS = 50;

/**
 * Fills a small disk, and asks the store to make room by removing its oldest records.
 * @param enough records where another program fills the disk; they must fit
 */
export async function fillAndRemove(
  store: Store,
  directory: string,
  { payloads, filler, enough }: { payloads: readonly Buffer[]; filler: Filler; enough: number },
): Promise<FullDiskFacts> {
  const append = () => outcome(store.append(payloads[records % payloads.length] as Buffer));
  let records = 0;
  const most = filler === 'its records' ? Infinity : enough;
  while (records < most && (await append()) === 'yes') records++;
  // What is smaller than a record, too.
  fillUp(join(directory, 'of-another'));
  const removesHalf = await outcome(store.removeOldest(Math.floor(records / 2)));
  let takesAgain = await append();
  for (let tries = 1; takesAgain !== 'yes' && tries < TRIES; tries++) {
    await pause(TRY_AGAIN_MS);
    takesAgain = await append();
  }
  return { records, removesHalf, takesAgain };
}

/** Until not one byte more fits. */
export function fillUp(file: string): void {
  const descriptor = openSync(file, 'a');
  try {
    for (let size = 2 ** 20; size >= 1; size /= 2) {
      const bytes = Buffer.alloc(size, 'x');
      try {
        for (;;) writeSync(descriptor, bytes);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

function outcome(work: Promise<void>): Promise<string> {
  return work.then(() => 'yes', messageOf);
}
