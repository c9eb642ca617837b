import { relative } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../../src/errors.ts';
import { CACHE } from '../stack/install.ts';
import { StackError } from '../stack/processes.ts';
import { step } from '../stack/progress.mjs';
import { ensurePythonEnvironment } from '../stack/python.ts';
import { runUntilStopped } from '../stack/stop-signals.ts';
import { createSharedBody, openBodyInHand } from './body-in-hand.ts';
import { keep } from './corpus.ts';
import { DISAGREEMENTS } from './differential.ts';
import type { Failure, Tally } from './fuzz.ts';
import type { WorkerNews, WorkerOrder } from './worker.ts';

/*
 * Mutated bodies through the relay's own parsers and through Google's runtime. Started by bootstrap.mjs; ends by itself.
 */

/** A body that is in hand for so long hangs; one that takes more than a second is a failure too, once it has ended. */
const HANG_MS = 10_000;
/** For a run: to begin with, and for each body; far above what it takes. */
const RUN_LIMIT = { baseMs: 120_000, bodyMs: 5 };
const LOOK_EVERY_MS = 250;
const PROGRESS_EVERY = 50_000;
/** Of all bodies, so that most of the work is behind the first check. */
const LEAST_ACCEPTED = 0.5;

type Options = { count: number; seed: number };
type Result = { tally: Tally; failure?: Failure };

async function main({ count, seed }: Options, signal: AbortSignal): Promise<void> {
  const { python } = await step("Google's runtime, with what tests use of Python", () =>
    ensurePythonEnvironment(CACHE, { signal }),
  );
  process.stdout.write(`${count.toLocaleString('en-US')} bodies, seed ${seed}\n`);
  const startedAt = performance.now();
  const { tally, failure } = await run({ count, seed, python }, signal);
  const seconds = (performance.now() - startedAt) / 1000;
  const problems = failure === undefined ? [] : [tellFailure(failure, seed)];
  if (failure === undefined && tally.accepted < LEAST_ACCEPTED * tally.bodies) {
    problems.push(`Only ${tally.accepted} of ${tally.bodies} bodies passed framing: half of them should.`);
  }
  process.stdout.write(report(tally, seconds));
  process.stdout.write(problems.map((problem) => `\n${problem}\n`).join(''));
  process.stdout.write(`\n${tally.bodies} bodies passed, ${problems.length} failed\n`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

/** In a thread, which is ended when it hangs. A failure that it cannot tell of itself is told by the body in hand. */
async function run(order: Omit<WorkerOrder, 'shared'>, signal: AbortSignal): Promise<Result> {
  const shared = createSharedBody();
  const inHand = openBodyInHand(shared);
  const worker = new Worker(new URL('worker.ts', import.meta.url), {
    workerData: { ...order, shared } satisfies WorkerOrder,
  });
  let tally: Tally = { bodies: 0, accepted: 0, changedTexts: 0, rests: 0, disagreements: {} };
  const finished = Promise.withResolvers<Result>();
  const failWith = (kind: string, detail: string) => {
    const body = inHand.look();
    if (body === undefined) finished.reject(new StackError(detail));
    else finished.resolve({ tally, failure: { kind, detail, ...body, shrunk: body.body } });
  };
  const end = performance.now() + RUN_LIMIT.baseMs + order.count * RUN_LIMIT.bodyMs;
  const watch = setInterval(() => {
    if ((inHand.look()?.ms ?? 0) > HANG_MS) failWith('hang', `it did not end within ${HANG_MS / 1000} s`);
    else if (performance.now() > end) finished.reject(new StackError('the run took longer than it may'));
  }, LOOK_EVERY_MS);
  signal.addEventListener('abort', () => finished.reject(new StackError('it was stopped')));
  worker.on('message', (news: WorkerNews) => {
    if ('result' in news) {
      finished.resolve(news.result);
      return;
    }
    tally = news.progress;
    if (tally.bodies % PROGRESS_EVERY === 0) process.stdout.write(`  ${tally.bodies}\n`);
  });
  worker.on('error', (error) => failWith('crash', messageOf(error)));
  worker.on('exit', (code) => failWith('crash', `the thread ended with exit code ${code}`));
  try {
    return await finished.promise;
  } finally {
    clearInterval(watch);
    worker.removeAllListeners('exit');
    await worker.terminate();
  }
}

function tellFailure({ kind, detail, index, shrunk }: Failure, seed: number): string {
  const file = keep(kind, shrunk);
  return [
    `${kind}: ${detail}`,
    `It is body ${index} of seed ${seed}; shrunk to ${shrunk.length} bytes it is kept in ${relative('.', file)}:`,
    Buffer.from(shrunk.subarray(0, 200)).toString('hex'),
  ].join('\n');
}

function report({ bodies, accepted, changedTexts, rests, disagreements }: Tally, seconds: number): string {
  const share = ((100 * accepted) / Math.max(1, bodies)).toFixed(0);
  const known = DISAGREEMENTS.map(
    ({ name, reason }) => `  ${name}: ${disagreements[name] ?? 0} (${reason})\n`,
  );
  return [
    `\n${bodies} bodies in ${seconds.toFixed(0)} s, ${accepted} of them (${share} %) passed framing\n`,
    `${changedTexts} texts of JSON that were changed became protobuf\n`,
    `of ${rests} other bodies a part was taken, without the spans that were to blame or with their texts mended\n`,
    "The relay refuses on purpose what Google's runtime takes:\n",
    ...known,
  ].join('');
}

function toCount(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('It is a whole number.');
  return value;
}

const command = new Command('npm run test:fuzz --')
  .description("mutated bodies through the relay's parsers, beside Google's runtime")
  .option('--count <number>', 'bodies', toCount, 1_000_000)
  .option('--seed <number>', 'of the bodies; the same bodies for the same seed', toCount)
  .parse();
const { count, seed = Date.now() % 2 ** 31 } = command.opts<Partial<Options> & { count: number }>();

await runUntilStopped('test:fuzz', (signal) => main({ count, seed }, signal));
