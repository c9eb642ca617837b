import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { ensureToxiproxy, startToxiproxy } from '../../stack/toxiproxy.ts';
import type { Toxiproxy } from '../../stack/toxiproxy.ts';
import { waitFor } from '../../stack/processes.ts';
import { expectStored } from '../../e2e/support/compare.ts';
import { DEADLINE_MS, temporaryFolder } from '../../e2e/support/relay.ts';
import { streamTraces } from '../../e2e/support/sender.ts';
import { skipWithout } from '../../e2e/support/skip.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf } from '../../e2e/support/traces.ts';
import type { TestTrace } from '../../e2e/support/traces.ts';
import { connectionsTo, residentMemory } from '../support/connections.ts';
import {
  NOTHING_PASSES,
  NO_ANSWER,
  UNHEARD_CLOSE,
  answersCutAfter,
  answersLateBy,
  breakAll,
  breakNew,
  flap,
  heal,
  resetAfter,
} from '../support/faults.ts';
import { DELIVERY, DRAIN_LIMIT_MS, drained, startFaultyUpstream } from '../support/faulty-upstream.ts';
import type { Attempt, FaultyUpstream } from '../support/faulty-upstream.ts';
import { figure, howMany, progress } from '../support/run.ts';

/** Of a whole request to MLflow. */
const TIMEOUT_S = howMany({ short: 1.5, long: 2 });
/** Attempts that each fault spoils before it goes away. */
const FAILURES = howMany({ short: 2, long: 4 });
const LATENCY_S = howMany({ short: 0.5, long: 10 });
const FLAPPING_S = howMany({ short: 3, long: 60 });
/** Between two traces of the load. */
const EVERY_MS = howMany({ short: 150, long: 100 });

const DEADLINE = `within ${TIMEOUT_S} s`;
const CLOSED = 'closed the connection before its answer was complete';

describe.skipIf(skipWithout('go'))('with a faulty upstream', { timeout: 2 * DRAIN_LIMIT_MS }, () => {
  let stack: Stack;
  let toxiproxy: Toxiproxy;
  let upstream: FaultyUpstream;
  const acknowledged: TestTrace[] = [];
  const cleanUps: (() => Promise<unknown>)[] = [];
  const whenOver = (finish: () => Promise<unknown>) => cleanUps.push(finish);

  beforeAll(async () => {
    const binary = await ensureToxiproxy();
    stack = await useSharedStack();
    whenOver(() => stack.stop());
    const directory = await temporaryFolder(whenOver);
    toxiproxy = await startToxiproxy({ binary, directory });
    whenOver(() => toxiproxy.stop());
    upstream = await startFaultyUpstream({ stack, toxiproxy, timeout: `${TIMEOUT_S * 1000}ms` }, whenOver);
    // So that it knows its experiment, and a fault meets traces.
    const first = makeTrace();
    await upstream.relay.sender.send(requestOf(first.spans));
    acknowledged.push(first);
    await drained(upstream.relay);
  });
  afterAll(async () => {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  });

  // A test that fails half-way must not take the others with it.
  beforeEach(async () => {
    await heal(upstream.proxy);
    await drained(upstream.relay);
  });

  /** Load that comes in all the time, before the fault, during it and after it, and what came of it. */
  async function underLoad(what: string, fault: () => Promise<void>, make?: () => TestTrace) {
    const mark = await upstream.mark();
    const stream = streamTraces(upstream.relay.sender, EVERY_MS, make);
    await stream.acknowledge(2);
    await fault();
    await stream.acknowledge(2);
    await stream.stop();
    acknowledged.push(...stream.acknowledged);
    const aftermath = await upstream.expectNothingLost(stream.acknowledged, mark);
    report(what, stream.acknowledged.length, aftermath);
    return aftermath;
  }

  /** Until attempts have failed, of which the status says this. */
  async function failing(reason: string): Promise<void> {
    await Promise.all([
      upstream.failures(FAILURES),
      upstream.waitFor(`failing: ${reason}`, (status) => {
        return status.state === 'retrying' && status.reason?.includes(reason) === true;
      }),
    ]);
  }

  const openConnections = () => connectionsTo(upstream.relay.pid() ?? 0, upstream.proxy.port);

  /** Until so many requests were broken off before MLflow had seen them. */
  const cut = (count: number) => {
    const wanted = upstream.tap.cutRequests() + count;
    return waitFor('no request was cut', DEADLINE_MS, async () =>
      upstream.tap.cutRequests() >= wanted ? true : undefined,
    );
  };
  /** Until MLflow has taken so many requests that came after this moment. */
  const taken = (count: number) => {
    const sum = () => upstream.tap.requests.filter(({ status }) => status === 200).length;
    const wanted = sum() + upstream.tap.underWay() + count;
    return waitFor('MLflow took no more requests', DEADLINE_MS, async () =>
      sum() >= wanted ? true : undefined,
    );
  };

  test('a reset in the middle of a request: MLflow sees nothing of it, and it goes again', async () => {
    const { attempts } = await underLoad(
      'reset in a request',
      async () => {
        await breakNew(upstream.proxy, resetAfter(4096));
        await Promise.all([failing(CLOSED), cut(1)]);
        await heal(upstream.proxy);
      },
      bulkyTrace,
    );
    expect(attempts.at(-1)).toMatchObject({ outcome: 'delivered' });
  });

  test('no answer: the deadline ends each attempt, and what MLflow has taken goes again', async () => {
    const { lostAnswers } = await underLoad('no answer', async () => {
      await breakAll(upstream.proxy, NO_ANSWER);
      await failing(DEADLINE);
      await heal(upstream.proxy);
    });
    expect(lostAnswers).toBeGreaterThan(0);
  });

  const wholeAnswer = () =>
    waitFor('MLflow answered nothing', DEADLINE_MS, async () => {
      return upstream.tap.requests.findLast(({ answerBytes }) => answerBytes > 0)?.answerBytes;
    });
  const cuts = [
    ['one byte before its end', async () => (await wholeAnswer()) - 1],
    ['within its first line', async () => 12],
  ] as const;
  test.each(cuts.slice(0, howMany({ short: 1, long: 2 })))(
    'an answer cut %s is none',
    async (where, bytes) => {
      const { lostAnswers } = await underLoad(`answer cut ${where}`, async () => {
        await breakNew(upstream.proxy, answersCutAfter(await bytes()));
        await Promise.all([failing(CLOSED), taken(FAILURES)]);
        await heal(upstream.proxy);
      });
      expect(lostAnswers).toBeGreaterThanOrEqual(FAILURES);
    },
  );

  test('answers that come long after the deadline: what MLflow has taken goes again', async () => {
    const { lostAnswers } = await underLoad('late answers', async () => {
      await breakAll(upstream.proxy, answersLateBy(10_000));
      await failing(DEADLINE);
      await heal(upstream.proxy);
    });
    expect(lostAnswers).toBeGreaterThan(0);
  });

  test('answers that come late, within the deadline: nothing goes twice', async () => {
    const patient = await startFaultyUpstream({ stack, toxiproxy, timeout: '30s' }, onTestFinished);
    await breakAll(patient.proxy, answersLateBy(LATENCY_S * 1000));
    const mark = await patient.mark();
    const stream = streamTraces(patient.relay.sender, EVERY_MS);
    await waitFor('nothing was delivered', DEADLINE_MS, async () =>
      (await patient.attempts()).length > 0 ? true : undefined,
    );
    await stream.stop();
    const { attempts, lostAnswers } = await patient.expectNothingLost(stream.acknowledged, mark);
    expect(attempts.every(({ outcome }) => outcome === 'delivered')).toBe(true);
    expect(lostAnswers).toBe(0);
    progress(
      `answers after ${LATENCY_S} s: ${stream.acknowledged.length} traces in ${attempts.length} requests`,
    );
  });

  test('connections on which nothing passes any more', async () => {
    const { attempts } = await underLoad('nothing passes', async () => {
      await breakAll(upstream.proxy, NOTHING_PASSES);
      await failing(DEADLINE);
      // A probe may have one; those that failed have none.
      await waitFor('connections were kept that had met the deadline', DEADLINE_MS, async () =>
        ((await openConnections()) ?? 0) <= 1 ? true : undefined,
      );
      await heal(upstream.proxy);
    });
    expect(attempts.at(-1)).toMatchObject({ outcome: 'delivered' });
  });

  test('a half-open connection: given up by the deadline, and the next one delivers', async () => {
    const { attempts } = await underLoad('half-open connection', async () => {
      // MLflow's side ends it, and the relay does not hear of it.
      await breakAll(upstream.proxy, UNHEARD_CLOSE);
      await taken(1);
      upstream.tap.closeConnections();
      await upstream.waitFor('failing', ({ reason }) => reason?.includes(DEADLINE) === true);
      await upstream.waitFor('up', ({ state }) => state === 'up');
      await heal(upstream.proxy);
    });
    expect(attempts.at(-1)).toMatchObject({ outcome: 'delivered' });
  });

  test('an upstream that comes and goes every second leaves no connection behind', async () => {
    const pid = upstream.relay.pid() ?? 0;
    const before = await residentMemory(pid);
    await underLoad('flapping', async () => {
      const stopping = new AbortController();
      const flapping = flap(upstream.proxy, stopping.signal);
      await pause(FLAPPING_S * 1000);
      stopping.abort();
      await flapping;
    });
    const open = await openConnections();
    // One more for the probe that noticed the return.
    expect(open ?? 0).toBeLessThanOrEqual(DELIVERY.max_in_flight + 1);
    const after = await residentMemory(pid);
    progress(`flapping: ${open} connections, memory ${mib(before)}, then ${mib(after)}`);
  });

  test('all of it is in MLflow as it was sent', async () => {
    expect(acknowledged.length).toBeGreaterThan(0);
    await expectStored(stack.mlflow, upstream.experiment, acknowledged);
  });
});

function mib(bytes = Number.NaN): string {
  return `${(bytes / 1024 / 1024).toFixed(0)} MiB`;
}

/** Larger than headers and what is let through of a request together, compressed too. */
function bulkyTrace(): TestTrace {
  return makeTrace(2, { attributes: { noise: randomBytes(8192).toString('base64') } });
}

function report(
  what: string,
  traces: number,
  { attempts, lostAnswers }: { attempts: readonly Attempt[]; lostAnswers: number },
): void {
  const failed = attempts.filter(({ outcome }) => outcome !== 'delivered');
  const late = Math.max(...failed.map(({ seconds }) => seconds)) - TIMEOUT_S;
  progress(
    `${what}: ${traces} traces, ${failed.length} of ${attempts.length} requests failed, ${lostAnswers} answers lost`,
  );
  figure(`${what}: deadline of ${TIMEOUT_S} s overrun at most`, `${Math.max(0, late).toFixed(3)} s`, '1 s');
}
