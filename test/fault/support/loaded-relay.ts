import { expect, onTestFinished } from 'vitest';
import { accountOf, expectBalanced, startTestRelay, waitUntilDelivered } from '../../e2e/support/relay.ts';
import type { TestRelay } from '../../e2e/support/relay.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { waitFor } from '../../stack/processes.ts';
import { startCountingTap } from './counting-tap.ts';
import type { CountingTap } from './counting-tap.ts';
import { deliveredCount, expectKept, largest, repeatedBy, undelivered } from './kept.ts';
import type { Repeated } from './kept.ts';
import { startLoad } from './load.ts';
import type { Load } from './load.ts';
import type { Random } from './random.ts';

/** A relay that is stopped and started again while senders go on, and what is told of it at both ends. */
export type LoadedRelay = {
  readonly relay: TestRelay;
  readonly load: Load;
  /** Before MLflow. */
  readonly tap: CountingTap;
  readonly experiment: string;
};

/** The least that can be configured, so that delivery gets ahead of it soon. */
const WINDOW_SIZE = 1024 * 1024;

/** Spans that were acknowledged and not delivered, from which on the senders wait. */
const ENOUGH = 400;

export async function startLoadedRelay(stack: Stack, random: Random): Promise<LoadedRelay> {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const tap = await startCountingTap(stack.mlflowUrl);
  onTestFinished(() => tap.close());
  const relay = await startTestRelay(
    { ...stack, mlflowUrl: tap.url },
    {
      experiment: { id: experiment },
      more: {
        // Segments of 512 KiB, so that many begin and end.
        queue: { max_size: '8MiB' },
        receiver: { max_request_body_size: '1MiB' },
        // Traces whose root does not come keep the saved position back for longer than a window takes to go by.
        delivery: { window_size: `${WINDOW_SIZE}B`, trace_wait: '3s' },
      },
    },
  );
  const delivered = deliveredCount(tap);
  const load = startLoad({
    client: relay.sender,
    random,
    senders: 6,
    maxAttribute: 8192,
    isEnough: (acknowledged) => acknowledged - delivered() > ENOUGH,
  });
  return { relay, load, tap, experiment };
}

/** What a stop may bring again at most, in bytes: the window, which the last request may go over. */
export function oneWindow({ load }: LoadedRelay): number {
  return WINDOW_SIZE + largest(load.requests);
}

/**
 * Ends the load. Then all that was acknowledged was delivered and is in MLflow as it was sent, the account of the last
 * run balances, and nothing came again without a stop.
 * @param stops how many answers the tap had seen at each stop
 * @returns what was delivered again, by run
 */
export async function expectNothingLost(
  stack: Stack,
  { relay, load, tap, experiment }: LoadedRelay,
  stops: readonly number[],
): Promise<Repeated[]> {
  await load.stop();
  await waitUntilDelivered(relay);
  await waitFor('requests were under way for ever', 60_000, async () => tap.underWay() === 0 || undefined);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ rejected: 0, waiting: 0, deadLetters: 0 });
  expectBalanced(account);

  const { requests } = load;
  expect(undelivered(requests, tap.requests)).toEqual([]);
  const repeated = repeatedBy(stops, requests, tap.requests);
  expect(repeated[0]).toEqual({ spans: 0, bytes: 0 });
  await expectKept(stack.mlflow, experiment, requests);
  return repeated;
}
