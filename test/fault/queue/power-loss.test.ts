import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LogContent, encodeSegmentHeader } from '../../../src/queue/frame.ts';
import { open } from '../../queue/support.ts';
import { ModelDisk } from '../support/model-disk.ts';
import { seeded } from '../support/random.ts';
import { howMany, progress } from '../support/run.ts';
import { sequence } from './power-loss-actions.ts';
import { KEPT_CASES } from './power-loss-cases.ts';
import { run } from './power-loss-run.ts';

/** Sequences in one go, between two lines of progress. */
const BATCH = 500;
/** A limit for what hangs: on a busy machine all of them take some ten minutes. */
const TIMEOUT_MS = 60 * 60_000;

/** Given by a failure; `FAULT_SEED` runs it again. */
const firstSeed = Number(process.env['FAULT_SEED'] ?? Date.now() % 2 ** 31);

const NOTHING_LEFT = { mlflow: 0, phoenix: 0, archive: 0 };

test.each(Object.entries(KEPT_CASES))('kept: %s', async (_, kept) => {
  expect(await run(kept)).toEqual(NOTHING_LEFT);
});

test('a file that was never synced may show the header of a removed segment: it is no reason not to open', async () => {
  const fs = new ModelDisk(seeded(1)).mount();
  await fs.makeDirectory('/queue/segments');
  const file = await fs.create(`/queue/segments/${'7'.padStart(20, '0')}-0000abcd.segment`);
  await file.write([encodeSegmentHeader(3, 12345, LogContent.deadLetters), Buffer.alloc(4000)], 0);
  await file.close();
  const { queue } = await open('/queue', { fs, lock: () => () => {} });
  expect(queue.status()).toMatchObject({ canAppend: true, destinations: { mlflow: { waitingSpans: 0 } } });
});

test(
  'whatever power loss leaves of what was not synced, the queue opens, nothing acknowledged is lost, and nothing counts as delivered that was not',
  { timeout: TIMEOUT_MS },
  async () => {
    const runs = howMany({ short: 200, long: 10_000 });
    for (let done = 0; done < runs; done += BATCH) {
      const numRuns = Math.min(BATCH, runs - done);
      await fc.assert(
        fc.asyncProperty(sequence, async (steps) => {
          expect(await run(steps)).toEqual(NOTHING_LEFT);
        }),
        { numRuns, seed: firstSeed + done },
      );
      progress(`power loss: ${done + numRuns} of ${runs} sequences`);
    }
  },
);
