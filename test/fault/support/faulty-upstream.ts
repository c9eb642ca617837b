import { join } from 'node:path';
import { expect } from 'vitest';
import type { Proxy, Toxiproxy } from '../../stack/toxiproxy.ts';
import { waitFor } from '../../stack/processes.ts';
import type { LogLine } from '../../stack/relay-process.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  metric,
  startTestRelay,
  temporaryFolder,
  waitForDestination,
} from '../../e2e/support/relay.ts';
import type { DestinationStatus, TestRelay } from '../../e2e/support/relay.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import type { TestTrace } from '../../e2e/support/traces.ts';
import { startCountingTap } from './counting-tap.ts';
import type { CountingTap } from './counting-tap.ts';

/** A request of the relay to MLflow, by its own log. */
export type Attempt = LogLine & { outcome: string; seconds: number; spans: number };

/** MLflow is through with such requests long before the deadline, on a slow machine and with a backlog too. */
export const DELIVERY = { max_batch_spans: 30, max_in_flight: 2 };

/** For a backlog behind a fault, and far above what it takes: a slow machine has other work as well. */
export const DRAIN_LIMIT_MS = 240_000;

/** What was so at a moment, to look at what came after it. */
type Mark = { readonly requests: number; readonly attempts: number; readonly delivered: number };

export type Aftermath = {
  /** Since the mark. */
  readonly attempts: readonly Attempt[];
  /** Answers of success that MLflow gave and the relay did not get; each made a request come twice. */
  readonly lostAnswers: number;
};

/** The relay, a proxy that breaks what passes, a tap that counts, MLflow. */
export type FaultyUpstream = {
  readonly relay: TestRelay;
  readonly proxy: Proxy;
  readonly tap: CountingTap;
  readonly experiment: string;
  attempts(): Promise<Attempt[]>;
  /** Resolves when so many attempts more than at this moment have failed. */
  failures(count: number): Promise<void>;
  waitFor(what: string, isWanted: (status: DestinationStatus) => boolean): Promise<DestinationStatus>;
  mark(): Promise<Mark>;
  /**
   * Waits until the relay has delivered all by itself and is up. Then what was acknowledged since the mark has been
   * taken by MLflow, and twice only where an answer was lost.
   */
  expectNothingLost(acknowledged: readonly TestTrace[], mark: Mark): Promise<Aftermath>;
};

/** @param whenOver given what is to be done at the end, in the opposite order */
export async function startFaultyUpstream(
  { stack, toxiproxy, timeout }: { stack: Stack; toxiproxy: Toxiproxy; timeout: string },
  whenOver: (finish: () => Promise<void>) => void,
): Promise<FaultyUpstream> {
  const tap = await startCountingTap(stack.mlflowUrl);
  whenOver(() => tap.close());
  const name = stack.experimentName();
  const proxy = await toxiproxy.proxy(name, `127.0.0.1:${tap.port}`);
  const experiment = await stack.mlflow.ensureExperiment(name);
  const relay = await startRelayTo(proxy, { stack, experiment, timeout, logLevel: 'debug' }, whenOver);

  async function attempts(): Promise<Attempt[]> {
    return (await relay.logLines()).filter(({ msg }) => msg === 'request') as Attempt[];
  }

  const delivered = () =>
    metric(relay, 'upstream_request_duration_seconds_count{destination="mlflow",outcome="delivered"}');
  const failed = () =>
    metric(relay, 'upstream_request_duration_seconds_count{destination="mlflow",outcome="retry"}');

  return {
    relay,
    proxy,
    tap,
    experiment,
    attempts,
    async failures(count) {
      const wanted = (await failed()) + count;
      await waitFor(`the relay did not fail ${count} times`, DEADLINE_MS, async () =>
        (await failed()) >= wanted ? true : undefined,
      );
    },
    waitFor: (what, isWanted) => waitForDestination(relay, what, isWanted),
    mark: async () => ({
      requests: tap.requests.length,
      attempts: (await attempts()).length,
      delivered: await delivered(),
    }),
    async expectNothingLost(acknowledged, mark) {
      await drained(relay);
      await waitForDestination(relay, 'up', ({ state }) => state === 'up');
      await waitFor('MLflow did not answer all', DEADLINE_MS, async () =>
        tap.underWay() === 0 ? true : undefined,
      );
      const account = await accountOf(relay);
      expect(account).toMatchObject({ waiting: 0, rejected: 0, deadLetters: 0 });
      expectBalanced(account);

      const taken = tap.requests.slice(mark.requests).filter(({ status }) => status === 200);
      expect([...new Set(taken.flatMap(({ spans }) => spans))].toSorted()).toEqual(spansOf(acknowledged));
      // What failed goes again as it was, or in halves; what was answered does not.
      const lastOrder = new Map<string, number>();
      for (const { spans, order } of taken.toSorted((x, y) => x.order - y.order)) {
        for (const span of spans) lastOrder.set(span, order);
      }
      const repeated = taken.filter(({ spans, order }) =>
        spans.some((span) => lastOrder.get(span) !== order),
      );
      expect(repeated.filter(({ hasArrived }) => hasArrived)).toEqual([]);
      expect((await delivered()) - mark.delivered).toBe(taken.length - repeated.length);
      return {
        attempts: (await attempts()).slice(mark.attempts),
        lostAnswers: repeated.length,
      };
    },
  };
}

/** Until nothing waits in the queue. */
export function drained(relay: TestRelay): Promise<true> {
  return waitFor('the backlog was not delivered', DRAIN_LIMIT_MS, async () =>
    (await accountOf(relay)).waiting === 0 ? true : undefined,
  );
}

/** @param setting.timeout of a request to MLflow */
export async function startRelayTo(
  proxy: Proxy,
  setting: { stack: Stack; experiment: string; timeout: string; logLevel: string },
  whenOver: (finish: () => Promise<void>) => void,
): Promise<TestRelay> {
  const { stack, experiment, timeout, logLevel } = setting;
  const directory = await temporaryFolder(whenOver);
  const auth = {
    kind: 'client_credentials',
    issuer: stack.issuer,
    client_id: stack.client.clientId,
    client_secret_file: join(directory, 'client-secret'),
  };
  const mlflow = { kind: 'mlflow', url: proxy.url, experiment: { id: experiment }, auth, timeout };
  const more = { destinations: { mlflow }, delivery: DELIVERY, log: { level: logLevel } };
  return startTestRelay(stack, { directory, more }, whenOver);
}

function spansOf(traces: readonly TestTrace[]): string[] {
  return traces
    .flatMap(({ spans }) => spans)
    .map(({ traceId, spanId }) => `${traceId}/${spanId}`)
    .toSorted();
}
