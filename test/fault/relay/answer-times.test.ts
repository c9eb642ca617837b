import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureToxiproxy, startToxiproxy } from '../../stack/toxiproxy.ts';
import type { Proxy } from '../../stack/toxiproxy.ts';
import {
  accountOf,
  expectBalanced,
  metric,
  temporaryFolder,
  waitForDestination,
} from '../../e2e/support/relay.ts';
import type { TestRelay } from '../../e2e/support/relay.ts';
import type { Sender } from '../../e2e/support/sender.ts';
import { skipWithout } from '../../e2e/support/skip.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from '../../e2e/support/traces.ts';
import {
  NOTHING_PASSES,
  NO_ANSWER,
  answersCutAfter,
  answersLateBy,
  breakAll,
  breakNew,
  flap,
  heal,
  resetAfter,
} from '../support/faults.ts';
import type { Fault } from '../support/faults.ts';
import { DRAIN_LIMIT_MS, drained, startRelayTo } from '../support/faulty-upstream.ts';
import { quantile, sendSteadily } from '../support/open-loop.ts';
import { figure, howMany, progress } from '../support/run.ts';

const ROUNDS = howMany({ short: 1, long: 3 });
const LOAD = { perSecond: 60, seconds: howMany({ short: 1, long: 8 }) };
/** Of what the receiver's p99 is without faults. */
const GOAL = 1.2;
const MOST_TRIES = 3;
const TIMEOUT = { timeout: ROUNDS * (LOAD.seconds * 2_000 + DRAIN_LIMIT_MS) };

/** Of answers, in ms, and of the relay. */
type Measured = { times: number[]; cpuSeconds: number };

/** With each, how it ends. */
type Begin = (proxy: Proxy) => Promise<() => Promise<void>>;
const lasting =
  (start: typeof breakAll, fault: Fault): Begin =>
  async (proxy) => {
    await start(proxy, fault);
    return () => heal(proxy);
  };
const FAULTS: Record<string, Begin> = {
  'resets in requests': lasting(breakNew, resetAfter(1500)),
  'no answer': lasting(breakAll, NO_ANSWER),
  'cut answers': lasting(breakNew, answersCutAfter(20)),
  'answers late by 10 s': lasting(breakAll, answersLateBy(10_000)),
  'nothing passes': lasting(breakAll, NOTHING_PASSES),
  'flapping every second': async (proxy) => {
    const stopping = new AbortController();
    const flapping = flap(proxy, stopping.signal);
    return () => {
      stopping.abort();
      return flapping;
    };
  },
};

// Their times are figures: what is asserted is that all are taken. A short run has time for one fault.
describe.skipIf(skipWithout('go'))("the receiver's answers", () => {
  let proxy: Proxy;
  let relay: TestRelay;
  const cleanUps: (() => Promise<unknown>)[] = [];
  const whenOver = (finish: () => Promise<unknown>) => cleanUps.push(finish);

  beforeAll(async () => {
    const binary = await ensureToxiproxy();
    const stack = await useSharedStack();
    whenOver(() => stack.stop());
    const toxiproxy = await startToxiproxy({ binary, directory: await temporaryFolder(whenOver) });
    whenOver(() => toxiproxy.stop());
    const name = stack.experimentName();
    const experiment = await stack.mlflow.ensureExperiment(name);
    proxy = await toxiproxy.proxy(name, new URL(stack.mlflowUrl).host);
    relay = await startRelayTo(proxy, { stack, experiment, timeout: '2s', logLevel: 'info' }, whenOver);
    // Connections, token and compiled code are there before anything is measured.
    await measure();
  });
  afterAll(async () => {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  });

  const cpuSeconds = () => metric(relay, 'process_cpu_seconds_total');

  /** Adds what a period of load took, in ms. */
  async function measure(sum: Measured = { times: [], cpuSeconds: 0 }): Promise<void> {
    const before = await cpuSeconds();
    sum.times.push(...(await sendSteadily(() => sendUntilTaken(relay.sender), LOAD)));
    sum.cpuSeconds += (await cpuSeconds()) - before;
  }

  test.for(Object.entries(FAULTS).slice(0, howMany({ short: 1, long: Infinity })))(
    'are all there with a fault upstream, and as soon by the figures: %s',
    TIMEOUT,
    async ([what, begin]) => {
      const undisturbed = { times: [] as number[], cpuSeconds: 0 };
      const disturbed = { times: [] as number[], cpuSeconds: 0 };
      for (let round = 1; round <= ROUNDS; round++) {
        await drained(relay);
        await measure(undisturbed);
        const end = await begin(proxy);
        await measure(disturbed);
        await end();
      }
      await drained(relay);
      await waitForDestination(relay, 'up', ({ state }) => state === 'up');
      expectBalanced(await accountOf(relay));

      progress(`${what}: undisturbed ${words(undisturbed)}; disturbed ${words(disturbed)}`);
      const ratio = quantile(disturbed.times, 0.99) / quantile(undisturbed.times, 0.99);
      figure(`${what}: p99 by that of undisturbed`, ratio.toFixed(2), String(GOAL));
      expect(disturbed.times.length).toBe(undisturbed.times.length);
    },
  );
});

/** A connection is lost when its handshake takes too long, as it may on a machine with other work: then it goes again. */
async function sendUntilTaken(sender: Sender): Promise<void> {
  const body = toProtobuf(requestOf(makeTrace().spans));
  for (let tries = 1; ; tries++) {
    const answer = await sender.post(body).catch((error: unknown) => {
      if (tries === MOST_TRIES) throw error;
    });
    if (answer?.status === 200) return;
    if (answer !== undefined) throw new Error(`a trace was answered ${answer.status}`);
  }
}

/** CPU of the relay tells more of it than times do, where the machine has other work. */
function words({ times, cpuSeconds }: Measured): string {
  const [p50, p99] = [quantile(times, 0.5).toFixed(1), quantile(times, 0.99).toFixed(1)];
  return `p50 ${p50} ms, p99 ${p99} ms, CPU ${cpuSeconds.toFixed(2)} s`;
}
