import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../../stack/processes.ts';
import { expectStored } from '../../e2e/support/compare.ts';
import {
  accountOf,
  clientFiles,
  expectBalanced,
  startTestRelay,
  waitForDestination,
} from '../../e2e/support/relay.ts';
import type { TestRelay } from '../../e2e/support/relay.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf } from '../../e2e/support/traces.ts';
import type { TestTrace } from '../../e2e/support/traces.ts';
import { startLoad, startSink } from '../support/outage.ts';
import { openDoor } from '../support/door.ts';
import type { Door, Knock } from '../support/door.ts';
import { SPANS_PER_REQUEST, tracesBySpans } from '../support/interleaved-requests.ts';
import { cpuByPart, quantileByPart, watchUsage } from '../support/process-usage.ts';
import { figure, howMany, progress } from '../support/run.ts';

/*
 * MLflow is away for long, while traces arrive as ever: spans of many traces mixed, each trace over several requests
 * and its root last.
 */

const MIB = 1024 * 1024;
const RETRY_AFTER_S = 2;
/** Far above what draining takes. */
const DRAIN_DEADLINE_MS = 20 * 60_000;

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack?.stop());

test(
  'MLflow comes back and has all traces, each in one request, and is asked nothing before its Retry-After is over',
  async () => {
    const door = await openDoor(stack.mlflowUrl);
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(
      { ...stack, mlflowUrl: door.url },
      // The spans of a trace arrive within a minute of each other, however busy the machine is.
      { experiment: { id: experiment }, more: { delivery: { trace_wait: '1m' } } },
    );
    const first = [makeTrace()];
    await sendMixed(relay, first);
    await waitUntilDrained(relay);

    progress('MLflow: connections are refused');
    await door.shut();
    const whileRefused = tracesOf(howMany({ short: 30, long: 1000 }));
    await sendMixed(relay, whileRefused);
    const status = await waitForDestination(relay, 'retrying', ({ state }) => state === 'retrying');
    expect(status.reason).toContain('nothing listens');
    const known = door.knocks.length;
    await door.open();
    await waitUntilDrained(relay);
    tellReturn(door.knocks.slice(known), door.openedAt);
    expectOneFirst(door.knocks.slice(known));

    progress('MLflow: 503 with Retry-After');
    door.askToWait(RETRY_AFTER_S);
    const before = door.knocks.length;
    const whileAsked = tracesOf(howMany({ short: 15, long: 500 }));
    // One request meets the first 503, and not several that are under way together.
    await sendMixed(relay, whileAsked.slice(0, 1));
    await answersOf503(door, before, 1);
    await sendMixed(relay, whileAsked.slice(1));
    await answersOf503(door, before, 2);
    const lastAsk = door.knocks.findLast(({ status: code }) => code === 503)?.at ?? Number.NaN;
    const asked = door.knocks.length;
    await door.open();
    await waitUntilDrained(relay);
    expect(door.knocks.filter(({ isTooEarly }) => isTooEarly)).toEqual([]);
    tellReturn(door.knocks.slice(asked), lastAsk + RETRY_AFTER_S * 1000);
    expectOneFirst(door.knocks.slice(asked));
    // Who has asked for a pause is asked first, by a request that carries nothing.
    expect(door.knocks[asked]).toMatchObject({
      what: 'POST /v1/traces',
      status: 200,
      spansByTrace: new Map(),
    });

    const traces = [...first, ...whileRefused, ...whileAsked];
    const taken = door.knocks.filter(({ status: code }) => code === 200);
    const spansOfRequests = taken.flatMap(({ spansByTrace }) => Array.from(spansByTrace));
    expect(spansOfRequests.toSorted()).toEqual(
      traces.map(({ traceId, spans }) => [traceId, spans.length]).toSorted(),
    );
    const account = await accountOf(relay);
    expect(account).toMatchObject({ waiting: 0, rejected: 0, deadLetters: 0 });
    expectBalanced(account);
    await expectStored(stack.mlflow, experiment, traces);
  },
  DRAIN_DEADLINE_MS,
);

test(
  'a long backlog costs disk and nothing else, and is drained whole while more arrives',
  async () => {
    const backlogBytes = howMany({ short: 4, long: 1024 }) * MIB;
    const requestsPerSecond = howMany({ short: 60, long: 100 });
    const sink = await startSink();
    const relay = await startTestRelay({ ...stack, mlflowUrl: sink.url }, { experiment: { id: '1' } });
    const { caFile, certFile, keyFile } = clientFiles(stack);
    const load = startLoad({
      url: relay.url,
      caFile,
      certFile,
      keyFile,
      connections: 4,
      requestsPerSecond,
    });
    const received = async (bytes: number) => {
      await waitFor('the senders did not get on', DRAIN_DEADLINE_MS, async () =>
        load.bytes() >= bytes ? true : undefined,
      );
    };
    // All that comes once only, such as compiling, has come.
    await received(backlogBytes / 64);
    await sink.go();
    await waitForDestination(relay, 'retrying', ({ state }) => state === 'retrying');

    const [bytesBefore, requestsBefore] = [load.bytes(), load.latencies.length];
    const outage = watchUsage(relay, () => load.latencies.length * SPANS_PER_REQUEST);
    for (let eighth = 1; eighth <= 8; eighth++) {
      await received(bytesBefore + (backlogBytes * eighth) / 8);
      progress(`${Math.round((backlogBytes * eighth) / 8 / MIB)} MiB arrived with the upstream away`);
    }
    const memoryInOutage = await outage.stop();
    const latencies = load.latencies.slice(requestsBefore);

    const backlog = await accountOf(relay);
    const draining = watchUsage(relay, () => 0);
    const cameAt = Date.now();
    await sink.come();
    await waitForDestination(relay, 'up', ({ state }) => state === 'up');
    await waitFor('the backlog was not drained', DRAIN_DEADLINE_MS, async () =>
      (await accountOf(relay)).delivered >= backlog.accepted ? true : undefined,
    );
    const drained = await accountOf(relay);
    const seconds = (Date.now() - cameAt) / 1000;
    const memoryInDrain = await draining.stop();
    const requests = await load.stop();
    await waitUntilDrained(relay);

    const account = await accountOf(relay);
    const sent = requests.reduce((sum, count) => sum + count, 0) * SPANS_PER_REQUEST;
    expect(account).toMatchObject({
      accepted: sent,
      delivered: sent,
      rejected: 0,
      waiting: 0,
      deadLetters: 0,
    });
    const seen = await sink.seen();
    expect(seen).toMatchObject({ spans: sent, split: 0 });
    expect(new Map(seen.tracesBySpans)).toEqual(sumOf(requests.map(tracesBySpans)));

    const goal = `${256} MiB`;
    figure('anonymous memory, most while the upstream was away', inMib(memoryInOutage), goal);
    figure('anonymous memory, most while draining', inMib(memoryInDrain), goal);
    const cpu = cpuByPart(outage.samples, 8).map((each) => each * 1e6);
    figure('CPU a span, first and last eighth of the backlog', ratioOf(cpu, 'µs'), 'a ratio of 1');
    for (const [name, share] of [
      ['median', 0.5],
      ['99th percentile', 0.99],
    ] as const) {
      const parts = quantileByPart(latencies, 8, share);
      figure(`time to take a request, ${name}, first and last eighth`, ratioOf(parts, 'ms'), 'a ratio of 1');
    }
    const firstAfter = (at: number | undefined) => `${(((at ?? Number.NaN) - cameAt) / 1000).toFixed(2)} s`;
    figure('from the return to the first request', firstAfter(seen.firstRequestAt), '1 s');
    figure('from the return to the first batch', firstAfter(seen.firstBatchAt), '1 s');
    const [arrival, drain] = [
      (drained.accepted - backlog.accepted) / seconds,
      (drained.delivered - backlog.delivered) / seconds,
    ];
    figure(
      `draining ${backlog.waiting} spans, beside arrival`,
      `${Math.round(drain)} against ${Math.round(arrival)} spans/s, ${(drain / arrival).toFixed(1)} times`,
      '2 times',
    );
  },
  DRAIN_DEADLINE_MS,
);

/** Long ones, that differ in length. */
function tracesOf(count: number): TestTrace[] {
  const text = 'The quick brown fox jumps over the lazy dog. '.repeat(10);
  return Array.from({ length: count }, (_, index) =>
    makeTrace(8 + (index % 13), { attributes: { index, text } }),
  );
}

/** Each trace in three requests, the root in the last, with spans of nine others in each. */
async function sendMixed({ sender }: TestRelay, traces: readonly TestTrace[]): Promise<void> {
  for (let from = 0; from < traces.length; from += 10) {
    const group = traces.slice(from, from + 10);
    for (let third = 0; third < 3; third++) {
      const spans = group.flatMap(({ spans: all }) => {
        const cut = (part: number) => Math.floor((all.length * part) / 3);
        return all.slice(cut(third), cut(third + 1));
      });
      if (spans.length > 0) await sender.send(requestOf(spans));
    }
  }
}

async function waitUntilDrained(relay: TestRelay): Promise<void> {
  await waitFor('spans were left', DRAIN_DEADLINE_MS, async () =>
    (await accountOf(relay)).waiting === 0 ? true : undefined,
  );
}

async function answersOf503(door: Door, since: number, count: number): Promise<void> {
  await waitFor(`503 was not answered ${count} times`, 60_000, async () => {
    const answers = door.knocks.slice(since).filter(({ status }) => status === 503);
    return answers.length >= count ? true : undefined;
  });
}

/** The first batch goes alone, and only when it is answered the others. */
function expectOneFirst(knocks: readonly Knock[]): void {
  const posts = knocks.filter(({ what }) => what === 'POST /v1/traces');
  const [batch, ...others] = posts.filter(({ spansByTrace }) => spansByTrace.size > 0);
  expect(others.length).toBeGreaterThan(0);
  const answeredAt = batch?.answeredAt ?? Number.NaN;
  expect(others.filter(({ at }) => !(at > answeredAt))).toEqual([]);
}

function tellReturn(knocks: readonly Knock[], returnedAt: number): void {
  const posts = knocks.filter(({ what }) => what === 'POST /v1/traces');
  const since = (knock: Knock | undefined) => `${(((knock?.at ?? NaN) - returnedAt) / 1000).toFixed(2)} s`;
  figure('from the return to the first request', since(posts[0]), '1 s');
  const batch = posts.find(({ spansByTrace }) => spansByTrace.size > 0);
  figure('from the return to the first batch', since(batch), '1 s');
}

function sumOf(counts: readonly ReadonlyMap<number, number>[]): Map<number, number> {
  const sum = new Map<number, number>();
  for (const [key, count] of counts.flatMap((each) => [...each])) sum.set(key, (sum.get(key) ?? 0) + count);
  return sum;
}

function inMib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}

function ratioOf(parts: readonly number[], unit: string): string {
  const [first, last] = [parts[0] ?? NaN, parts.at(-1) ?? NaN];
  return `${first.toFixed(1)} and ${last.toFixed(1)} ${unit}, a ratio of ${(last / first).toFixed(2)}`;
}
