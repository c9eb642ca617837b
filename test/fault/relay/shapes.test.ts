import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { accountOf, clientFiles, expectBalanced, startTestRelay } from '../../e2e/support/relay.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { waitFor } from '../../stack/processes.ts';
import { watchUsage } from '../support/process-usage.ts';
import { figure, howMany, isLong, progress } from '../support/run.ts';
import type { ShapeNews, ShapeOrder } from '../support/shape-load.ts';
import type { ShapesSeen, ShapeSinkOrder } from '../support/shape-sink.ts';
import { tracesOf } from '../support/shapes.ts';
import type { Shape } from '../support/shapes.ts';

/*
 * Whatever the shape of traces, the relay's memory is bounded by bytes: what does not fit waits on disk. Half of them
 * come while the upstream is away.
 */

const MIB = 1024 * 1024;
/** The short form has to go over it. */
const WINDOW_MIB = howMany({ short: 2, long: 64 });
const DEADLINE_MS = isLong ? 1_200_000 : 120_000;

type Case = {
  shape: Shape;
  what: string;
  spans: number;
  /** Traces that cannot be in one request. */
  split: number;
};

const LARGE = howMany({ short: 4, long: 200 });
const MANY = howMany({ short: 20_000, long: 1_000_000 });
const ROOTLESS = howMany({ short: 5_000, long: 500_000 });
const CASES: readonly Case[] = [
  { shape: 'one trace', what: `one trace of ${MANY} spans`, spans: MANY, split: 1 },
  { shape: 'lone spans', what: `${MANY} traces of one span`, spans: MANY, split: 0 },
  { shape: 'large spans', what: `${LARGE} spans of 10 MB, two a trace`, spans: LARGE, split: LARGE / 2 },
  {
    shape: 'rootless',
    what: `${ROOTLESS} traces of two spans without a root`,
    spans: 2 * ROOTLESS,
    split: 0,
  },
];

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

test.for(CASES)(
  '$what: each span arrives once, each trace in order and in one request at a time, in whole ones where it fits',
  { timeout: DEADLINE_MS },
  async ({ shape, what, spans, split }) => {
    const sink = start('shape-sink.ts');
    sink.send({ spans } satisfies ShapeSinkOrder);
    const [{ url: mlflowUrl }] = (await once(sink, 'message')) as [{ url: string }];
    const relay = await startTestRelay(
      { ...stack, mlflowUrl },
      {
        experiment: { id: '1' },
        more: {
          delivery: { window_size: `${WINDOW_MIB}MiB`, trace_wait: howMany({ short: 2, long: 5 }) + 's' },
        },
      },
    );
    const usage = watchUsage(relay, () => 0);

    const sender = startSender({ url: relay.url, ...clientFiles(stack), shape, spans });
    await sender.half;
    progress(`${what}: half of it came with the upstream away`);
    sink.send('come' satisfies ShapeSinkOrder);
    await once(sink, 'message');
    await sender.all;
    await waitFor('spans were left', DEADLINE_MS, async () =>
      (await accountOf(relay)).waiting === 0 ? true : undefined,
    );
    const memory = await usage.stop();

    const seen = (await (await fetch(`${mlflowUrl}/seen`)).json()) as ShapesSeen;
    expect(seen).toMatchObject({
      spans,
      traces: tracesOf(shape, spans),
      repeated: 0,
      split,
      outOfOrder: 0,
      overlapping: 0,
    });
    const account = await accountOf(relay);
    expect(account).toMatchObject({ accepted: spans, delivered: spans, rejected: 0, deadLetters: 0 });
    expectBalanced(account);
    figure(
      `RSS, anonymous, at most, with ${what}, in ${seen.requests} requests`,
      `${(memory / MIB).toFixed(0)} MiB`,
      `256 MiB, of which the window is ${WINDOW_MIB}`,
    );
  },
);

function startSender(order: ShapeOrder): { half: Promise<void>; all: Promise<void> } {
  const child = start('shape-load.ts');
  const half = Promise.withResolvers<void>();
  const all = Promise.withResolvers<void>();
  all.promise.catch(() => {});
  half.promise.catch(() => {});
  const fail = (error: Error) => {
    half.reject(error);
    all.reject(error);
  };
  child.once('exit', () => fail(new Error('the sender has ended')));
  child.on('message', (news: ShapeNews) => {
    if ('error' in news) return fail(new Error(news.error));
    if (news.sent >= order.spans / 2) half.resolve();
    if (news.sent >= order.spans) all.resolve();
  });
  child.send(order);
  return { half: half.promise, all: all.promise };
}

function start(file: string): ChildProcess {
  const child = fork(join(import.meta.dirname, '../support', file), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  onTestFinished(() => {
    if (child.connected) child.disconnect();
  });
  return child;
}
