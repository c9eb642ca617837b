import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { messageOf } from '../../src/errors.ts';
import { CACHE } from '../stack/install.ts';
import { step } from '../stack/progress.mjs';
import { withSmallDisk } from '../stack/small-disk.ts';
import { runUntilStopped } from '../stack/stop-signals.ts';
import { ask } from './log/ask.ts';
import { FILLERS } from './log/full-disk.ts';
import type { Filler, FullDiskFacts } from './log/full-disk.ts';
import { ensureLmdb } from './log/lmdb-store.ts';
import { costReport, fullDiskReport } from './log/report.ts';
import type { CostMeasurement } from './log/report.ts';
import { STORES } from './log/store.ts';
import type { StoreKind } from './log/store.ts';
import { machineLine } from './machine.ts';
import { toRounds, turned } from './rounds.ts';

/*
 * Why the queue is a log of its own: what keeping, reading back and removing a span costs in it, in SQLite and in LMDB,
 * and what each can do when the disk is full. Started by bootstrap.mjs; ends by itself.
 *
 * Measured on 2 cores AMD EPYC, it is not for CPU time. Append, read back and remove take 4.7, 2.2 and 2.1 µs a span in
 * records of 10, 100 and 510 spans, checksums included; SQLite 3.7, 2.0 and 1.6, with its thread blocked at each sync;
 * LMDB 4.2, 2.0 and 3.3. But each byte is written 1.00 to 1.04 times (SQLite 2.0 to 3.8, LMDB 1.07 to 1.34), and on a
 * full disk the oldest segment can be unlinked, where SQLite that has filled it answers a DELETE with "database or disk
 * is full", and LMDB cannot commit a removal once another program has filled it (test/fault/queue/why-a-log.test.ts). A
 * damaged record costs itself alone, and nothing native is needed.
 */

/** Records by spans a record: enough for a second or more each. */
const RECORDS: ReadonlyMap<number, number> = new Map([
  [10, 10_000],
  [100, 3_000],
  [510, 1_000],
]);
/** Wait for their record to be durable at the same time. */
const APPENDERS = 32;
const SMALL_DISK = 48 * 2 ** 20;
/** Of the records on the small disk. */
const SMALL_DISK_SPANS = 100;

type Options = { rounds: number; size?: string; only?: StoreKind };

async function main({ rounds, size, only }: Options, signal: AbortSignal): Promise<void> {
  const lmdb = await step('LMDB, installed once', () => ensureLmdb({ signal }));
  // Not in the folder for temporary files, which may be memory: a sync would cost nothing there.
  await mkdir(CACHE, { recursive: true });
  const directory = await mkdtemp(join(CACHE, 'bench-log-'));
  const kinds = STORES.filter((kind) => kind === (only ?? kind));
  const measurements: CostMeasurement[] = [];
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const [spansPerRecord, records] of RECORDS) {
        if (size !== undefined && spansPerRecord !== Number(size)) continue;
        for (const kind of turned(kinds, round - 1)) {
          const own = join(directory, `${kind}-${spansPerRecord}-${round}`);
          await mkdir(own);
          const order = { kind, directory: own, lmdb, spansPerRecord, records, appenders: APPENDERS };
          const what = `${spansPerRecord} spans a record, ${kind} (${round} of ${rounds})`;
          const answer = await step(what, () => ask(order, signal));
          if ('cost' in answer) measurements.push({ kind, spansPerRecord, figures: answer.cost });
          await rm(own, { recursive: true });
        }
      }
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  // In the order of the table, whatever the order of a round was.
  measurements.sort((a, b) => STORES.indexOf(a.kind) - STORES.indexOf(b.kind));
  const facts = await step('a full disk', () => onFullDisks(kinds, lmdb, signal));
  process.stdout.write(
    `\n${machineLine()}; ${APPENDERS} appenders\n\n${costReport(measurements)}\n\n${facts}\n`,
  );
}

async function onFullDisks(kinds: readonly StoreKind[], lmdb: string, signal: AbortSignal): Promise<string> {
  const all: { kind: StoreKind; filler: Filler; facts: FullDiskFacts | string }[] = [];
  try {
    for (const kind of kinds) {
      for (const filler of FILLERS) {
        const facts = await withSmallDisk(SMALL_DISK, (directory) =>
          ask({ kind, directory, lmdb, spansPerRecord: SMALL_DISK_SPANS, filler }, signal).then(
            (answer) => ('fullDisk' in answer ? answer.fullDisk : 'no answer'),
            messageOf,
          ),
        );
        all.push({ kind, filler, facts });
      }
    }
  } catch (error) {
    signal.throwIfAborted();
    return `Left out, what happens on a full disk: ${messageOf(error)}`;
  }
  return fullDiskReport(all);
}

const command = new Command('npm run bench:log --')
  .description('what keeping a span costs in the log of the queue, in SQLite and in LMDB, on this machine')
  .option('--rounds <number>', 'measurements of each; medians are shown', toRounds, 3)
  .addOption(
    new Option('--size <spans>', 'records of this size only').choices([...RECORDS.keys()].map(String)),
  )
  .addOption(new Option('--only <store>', 'this one only').choices(STORES))
  .parse();

await runUntilStopped('bench:log', (signal) => main(command.opts<Options>(), signal));
