import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { storedLetters, storedSegments } from '../../../src/queue/stored-letters.ts';
import { runCommand } from '../../e2e/support/command.ts';
import { accountIn, expectBalanced, startTestRelay, temporaryFolder } from '../../e2e/support/relay.ts';
import type { Account, TestRelay } from '../../e2e/support/relay.ts';
import { spansOf } from '../../e2e/support/spans-of.ts';
import { useSharedStack } from '../../e2e/support/stack.ts';
import type { Stack } from '../../e2e/support/stack.ts';
import { makeTrace, requestOf } from '../../e2e/support/traces.ts';
import { waitFor } from '../../stack/processes.ts';
import { startLoad } from '../support/load.ts';
import { startPlannedUpstream } from '../support/planned-upstream.ts';
import type { Plan } from '../support/planned-upstream.ts';
import { seeded } from '../support/random.ts';
import { figure, howMany, isLong, progress } from '../support/run.ts';
import { startScraping } from '../support/scrapes.ts';

/* For each destination, in each run of the relay, by its metrics alone: no span gets lost without being counted. */

const PLANS = [
  'refuses what is bad',
  'leaves some out',
  'is overloaded',
  'takes and hangs up',
  'refuses all',
  'is slow',
  'hangs up',
  'takes all',
] as const satisfies readonly Plan[];

/** Each plan in turn first, so that a short run has them all. */
const ROUNDS = howMany({ short: PLANS.length, long: 60 });
const DRAIN_DEADLINE_MS = 180_000;

/** Spans that wait for MLflow, from which on the senders do: what it stores on SQLite in some seconds. */
const ENOUGH = 400;

const DESTINATIONS = ['mlflow', 'planned'] as const;

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

const seed = Number(process.env['FAULT_SEED'] ?? randomInt(2 ** 32));

test(
  `the account of spans holds at every scrape, whatever upstreams answer, and when the relay is killed (seed ${seed})`,
  async () => {
    const random = seeded(seed);
    const upstream = await startPlannedUpstream();
    const directory = await temporaryFolder();
    const experiment = { id: await stack.mlflow.ensureExperiment(stack.experimentName()) };
    const planned = {
      kind: 'mlflow',
      url: upstream.url,
      experiment: { id: '1' },
      auth: { kind: 'none' },
    };
    const queue = { directory: `${directory}/queue` };
    const delivery = { trace_wait: '1s', window_size: '1MiB', max_batch_spans: 40 };
    const relay = await startTestRelay(stack, {
      directory,
      experiment,
      more: { queue, delivery, receiver: { max_request_body_size: '1MiB' }, destinations: { planned } },
    });
    const scrapes = startScraping(relay, DESTINATIONS);

    let waiting = 0;
    const load = startLoad({
      client: relay.sender,
      random,
      senders: 4,
      maxAttribute: 2048,
      isEnough: () => waiting > ENOUGH,
    });
    const watch = setInterval(() => {
      void accountsOf(relay).then(
        ([mlflow]) => (waiting = mlflow.waiting),
        () => {},
      );
    }, 100);
    onTestFinished(() => clearInterval(watch));

    let stops = 0;
    for (let round = 1; round <= ROUNDS; round++) {
      upstream.become(PLANS[round - 1] ?? random.pick(PLANS));
      await sendBad(relay, upstream.bad);
      await load.acknowledge(1 + random.below(15));
      // Twice in a row, where the second comes while what the first has left is read.
      for (let kills = random.below(3); kills > 0; kills--, stops++) {
        await relay.stop(random.chance(0.7) ? 'SIGKILL' : 'SIGTERM');
        await relay.start();
      }
      for (const account of await accountsOf(relay)) expectBalanced(account);
      expect(scrapes.unbalanced).toEqual([]);
      if (round % 10 === 0) progress(`${stops} stops, ${scrapes.count()} different scrapes`);
    }

    // What is waiting and dead is found again by a start, and no more.
    upstream.become('is overloaded');
    await load.acknowledge(5);
    await load.stop();
    const [, before] = await accountsOf(relay);
    await relay.stop();
    await relay.start();
    const [, after] = await accountsOf(relay);
    expect(after.recovered).toBe(before.waiting + before.deadLetters);
    expect(after).toMatchObject({ accepted: 0, deadLetters: before.deadLetters });

    upstream.become('takes all');
    const drained = () =>
      waitFor('spans were left', DRAIN_DEADLINE_MS, async () =>
        (await accountsOf(relay)).every((account) => account.waiting === 0) ? true : undefined,
      );
    await drained();

    // Through all kills, none of the bad spans has become a letter twice.
    const buried = await buriedSpans(queue.directory, upstream.bad);
    expect(buried.filter((span, index) => buried.indexOf(span) !== index)).toEqual([]);
    expect(buried.length).toBeGreaterThan(0);

    // What operators do beside the running relay is in the account too.
    const [{ deadLetters }] = await accountsOf(relay);
    const command = (...words: string[]) =>
      runCommand('dead-letters', ...words, '--config', relay.configFile);
    expect(await command('replay', '--destination', 'planned')).toMatchObject({ code: 0 });
    expect(await command('discard', '--destination', 'mlflow')).toMatchObject({ code: 0 });
    await drained();
    const [ofMlflow, ofPlanned] = await accountsOf(relay);
    expectBalanced(ofMlflow);
    expectBalanced(ofPlanned);
    expect(ofMlflow).toMatchObject({ deadLetters: 0, discarded: deadLetters });
    expect(ofPlanned).toMatchObject({ deadLetters: 0, discarded: 0 });
    await scrapes.stop();
    expect(scrapes.unbalanced).toEqual([]);
    expect(scrapes.count()).toBeGreaterThan(ROUNDS);

    // So that in the end the planned one has seen them all.
    const acknowledged = load.requests.filter((request) => request.acknowledged);
    const untaken = acknowledged
      .flatMap(({ spans }) => spans)
      .filter(({ spanId }) => !upstream.taken.has(spanId));
    expect(untaken).toEqual([]);
    figure(`different scrapes that were off, of ${scrapes.count()} in ${stops} stops`, '0', '0');

    // Given up by an operator, it is in the account as well.
    upstream.become('is overloaded');
    await relay.sender.send(requestOf(makeTrace(7).spans));
    await relay.stop();
    const without = await startTestRelay(stack, { directory, experiment });
    expect(await unconfiguredAccount(without)).toMatchObject({ waiting: 7, discarded: 0 });
    expectBalanced(await unconfiguredAccount(without));
    const forgotten = await runCommand('queue', 'forget', 'planned', '--config', without.configFile);
    expect(forgotten).toMatchObject({ code: 0 });
    expect(await unconfiguredAccount(without)).toMatchObject({ waiting: 0, discarded: 7 });
    expectBalanced(await unconfiguredAccount(without));
  },
  isLong ? 1_500_000 : 300_000,
);

/** Of one scrape. */
async function accountsOf(relay: TestRelay): Promise<[mlflow: Account, planned: Account]> {
  const metrics = await relay.metrics();
  return [accountIn(metrics, 'mlflow'), accountIn(metrics, 'planned')];
}

/** Of the destination that was taken out: it gets nothing new, and of what it has nothing is delivered. */
async function unconfiguredAccount(relay: TestRelay): Promise<Account> {
  const metrics = await relay.metrics();
  const sample = (name: string) => metrics.get(`mlflow_trace_relay_${name}{destination="planned"}`) ?? 0;
  return {
    accepted: 0,
    recovered: sample('recovered_spans_total'),
    delivered: 0,
    rejected: 0,
    superseded: 0,
    discarded: sample('discarded_spans_total'),
    waiting: sample('unconfigured_destination_spans'),
    deadLetters: sample('dead_letter_spans'),
  };
}

/** Each of these spans that a dead letter has, with the destination of the letter. */
async function buriedSpans(directory: string, ids: ReadonlySet<string>): Promise<string[]> {
  const buried: string[] = [];
  for (const segment of await storedSegments(directory)) {
    for await (const { meta, payload } of storedLetters(segment, { withPayloads: true })) {
      for (const { spanId } of spansOf({}, Buffer.from(payload)))
        if (ids.has(spanId)) buried.push(`${meta.destination} ${spanId}`);
    }
  }
  return buried;
}

/** A good trace, and two with a span each that an upstream refuses: this MLflow, and the planned one. */
async function sendBad(relay: TestRelay, bad: Set<string>): Promise<void> {
  const refused = [
    makeTrace(3, { attributes: { 'session.id': 'x'.repeat(300) } }),
    makeTrace(1, { attributes: { 'mlflow.llm.cost': [1, 2] } }),
  ];
  for (const { spans } of refused) bad.add(spans.at(-1)?.spanId ?? '');
  const traces = [makeTrace(3), ...refused];
  await relay.sender.send(requestOf(traces.flatMap(({ spans }) => spans)));
}
