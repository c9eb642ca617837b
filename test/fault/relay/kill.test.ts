import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestRelay } from '../../e2e/support/relay.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { waitFor } from '../../stack/processes.ts';
import { expectNothingLost, oneWindow, startLoadedRelay } from '../support/loaded-relay.ts';
import type { LoadedRelay } from '../support/loaded-relay.ts';
import { seeded } from '../support/random.ts';
import type { Random } from '../support/random.ts';
import { figure, howMany, isLong, progress } from '../support/run.ts';

/** Of kills and starts; in some of them the start is killed as well. */
const ROUNDS = howMany({ short: 6, long: 200 });

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

/** A moment to kill at: resolves when it has come. The relay is ready and under load when it is asked for. */
type Moment = (loaded: LoadedRelay, random: Random) => Promise<unknown>;

const afterSomeRequests: Moment = ({ load }, random) => load.acknowledge(1 + random.below(30));

const onceReady: Moment = async () => {};

const whenASegmentBegins: Moment = ({ relay, load }) => {
  const watcher = watch(join(relay.directory, 'queue', 'segments'));
  // Had all segments room enough, none would begin.
  return Promise.race([once(watcher, 'change'), load.acknowledge(200)]).finally(() => watcher.close());
};

const whileTheBacklogGoes: Moment = async ({ load, tap }, random) => {
  await load.acknowledge(20);
  load.pause();
  const wanted = tap.requests.length + 1 + random.below(4);
  await waitFor('nothing of the backlog was delivered', 60_000, async () =>
    tap.requests.length >= wanted || tap.underWay() === 0 ? true : undefined,
  );
  load.resume();
};

const MOMENTS = [afterSomeRequests, onceReady, whenASegmentBegins, whileTheBacklogGoes] as const;

const seed = Number(process.env['FAULT_SEED'] ?? randomInt(2 ** 32));

test(
  `SIGKILL under load: no acknowledged span is lost, and at most one window comes again (seed ${seed})`,
  async () => {
    const random = seeded(seed);
    const loaded = await startLoadedRelay(stack, random);
    const { relay, load, tap } = loaded;
    const kills: number[] = [];
    const starts: number[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      // Each in turn first, so that a short run has them all.
      const moment = MOMENTS[round - 1] ?? random.pick(MOMENTS);
      await moment(loaded, random);
      await relay.stop('SIGKILL');
      kills.push(tap.requests.length);
      if (round === 2 || random.chance(0.25)) {
        await killWhileStarting(relay, random.below(500));
        kills.push(tap.requests.length);
      }
      const started = performance.now();
      await relay.start();
      starts.push((performance.now() - started) / 1000);
      if (round % 10 === 0) progress(`${kills.length} kills, ${load.requests.length} requests sent`);
    }
    const repeated = await expectNothingLost(stack, loaded, kills);
    const again = repeated.map(({ bytes }) => bytes).toSorted((a, b) => a - b);
    expect(again.at(-1)).toBeLessThanOrEqual(oneWindow(loaded));

    const acknowledged = load.requests.filter((request) => request.acknowledged);
    const spans = acknowledged.reduce((sum, request) => sum + request.spans.length, 0);
    const times = starts.toSorted((a, b) => a - b);
    figure(`spans lost of ${spans} in ${kills.length} kills`, '0', '0');
    figure(
      'delivered again a kill, median and most',
      `${middle(again)} and ${again.at(-1)} bytes`,
      'a window, 1048576',
    );
    figure(
      'ready after a kill, median and most',
      `${seconds(middle(times))} and ${seconds(times.at(-1))}`,
      '2 s',
    );
  },
  isLong ? 1_500_000 : 300_000,
);

function middle(sorted: readonly number[]): number | undefined {
  return sorted[sorted.length >> 1];
}

function seconds(value: number | undefined): string {
  return `${value?.toFixed(2)} s`;
}

async function killWhileStarting(relay: TestRelay, afterMs: number): Promise<void> {
  const starting = relay.start().catch(() => {});
  await pause(afterMs);
  await relay.stop('SIGKILL');
  await starting;
}
