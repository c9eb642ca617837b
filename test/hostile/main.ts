import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { messageOf } from '../../src/errors.ts';
import { machineLine } from '../bench/machine.ts';
import { CACHE } from '../stack/install.ts';
import { runUntilStopped } from '../stack/stop-signals.ts';
import type { Attack, Form } from './attack.ts';
import { ATTACKS } from './attacks/all.ts';
import { reportAttack } from './report.ts';
import { runAttack } from './run-attack.ts';

/*
 * Attacks on a built relay with the heap of the pod, one after the other, each on a relay of its own, and what an honest
 * sender beside them waits. Started by bootstrap.mjs; ends by itself.
 */

type Options = { only?: string[]; short?: true };

async function main({ only = Object.keys(ATTACKS), short }: Options, signal: AbortSignal): Promise<void> {
  const form: Form = short === true ? 'short' : 'full';
  process.stdout.write(`${machineLine()}\n`);
  // Not in the folder for temporary files, which may be memory: an fsync would cost nothing there.
  await mkdir(CACHE, { recursive: true });
  const directory = await mkdtemp(join(CACHE, 'hostile-'));
  const counts = { passed: 0, failed: 0 };
  try {
    for (const attack of only.flatMap((name) => ATTACKS[name]!(form))) {
      const isPassed = await runOne(attack, directory, signal);
      counts[isPassed ? 'passed' : 'failed']++;
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  process.stdout.write(`\n${counts.passed} attacks passed, ${counts.failed} failed\n`);
  process.exitCode = counts.failed === 0 ? 0 : 1;
}

/** One that cannot be run has failed, and the next ones run still. */
async function runOne(attack: Attack, directory: string, signal: AbortSignal): Promise<boolean> {
  process.stdout.write(`\n${attack.name}\n`);
  try {
    const result = await runAttack(attack, { directory, signal });
    process.stdout.write(reportAttack(result));
    return result.figures.every(({ isMet }) => isMet);
  } catch (error) {
    signal.throwIfAborted();
    process.stdout.write(`  it could not be run: ${messageOf(error)}\n`);
    return false;
  }
}

const command = new Command('npm run test:hostile --')
  .description('attacks on the relay at the heap of the pod, and what others wait meanwhile')
  .addOption(new Option('--only <attacks...>', 'these alone').choices(Object.keys(ATTACKS)))
  .option('--short', 'the short forms that run with all tests')
  .parse();

await runUntilStopped('test:hostile', (signal) => main(command.opts<Options>(), signal));
