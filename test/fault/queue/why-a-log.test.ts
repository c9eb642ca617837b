import { describe, expect, test } from 'vitest';
import { messageOf } from '../../../src/errors.ts';
import { ask } from '../../bench/log/ask.ts';
import type { Filler, FullDiskFacts } from '../../bench/log/full-disk.ts';
import { ensureLmdb } from '../../bench/log/lmdb-store.ts';
import type { StoreKind } from '../../bench/log/store.ts';
import { skipWithoutSmallDisks, withSmallDisk } from '../../stack/small-disk.ts';
import { isLong } from '../support/run.ts';

/*
 * Why the queue is a log of files: a full disk is an everyday fault, and what was delivered must make room. What it
 * costs beside SQLite and LMDB is measured by `npm run bench:log`.
 */

/** Of payloads of about 77 kB, more than 400 fit. */
const SMALL_DISK = 48 * 2 ** 20;

describe.skipIf(skipWithoutSmallDisks())('on a disk that is full to the last byte', () => {
  test.for(['its records', 'another program'] as const)(
    'the log removes its oldest records and takes new ones, filled by %s',
    async (filler) => {
      const facts = await factsOf('log', filler);
      expect(facts).toMatchObject({ removesHalf: 'yes', takesAgain: 'yes' });
      expect(facts.records).toBeGreaterThanOrEqual(filler === 'its records' ? 400 : 200);
    },
  );

  test('SQLite, having filled it, can neither remove a record nor take one', async () => {
    const facts = await factsOf('sqlite', 'its records');
    expect(facts).toMatchObject({
      removesHalf: 'database or disk is full',
      takesAgain: 'database or disk is full',
    });
    expect(facts.records).toBeGreaterThanOrEqual(400);
  });

  // Has to be installed.
  test.for(isLong ? ['LMDB'] : [])(
    '%s, when another program has filled it, cannot remove its records',
    async () => {
      const lmdb = await ensureLmdb();
      const said = await factsOf('lmdb', 'another program', lmdb).then(
        (facts) => facts.removesHalf,
        messageOf,
      );
      // Trying again and again, its process may die.
      expect(said).toMatch(/No space left on device/);
    },
  );
});

async function factsOf(kind: StoreKind, filler: Filler, lmdb = ''): Promise<FullDiskFacts> {
  return withSmallDisk(SMALL_DISK, async (directory) => {
    const answer = await ask({ kind, directory, lmdb, spansPerRecord: 100, filler });
    if (!('fullDisk' in answer)) throw new Error('no answer');
    return answer.fullDisk;
  });
}
