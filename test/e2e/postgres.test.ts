import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { waitFor } from '../stack/processes.ts';
import type { Postgres } from '../stack/postgres.ts';
import { expectStored } from './support/compare.ts';
import { tryDifferentCopies, tryEqualCopies } from './support/copies.ts';
import { EVERYWHERE, HALF_PAIRS, ON_POSTGRESQL, tryMended } from './support/mended.ts';
import {
  DEADLINE_MS,
  accountOf,
  clientFiles,
  destinationStatus,
  expectBalanced,
  isReady,
  metric,
  startTestRelay,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import { createSender, streamTraces } from './support/sender.ts';
import { skipWithout } from './support/skip.ts';
import { startStackOnPostgres, TRACKING } from './support/stack-on-postgres.ts';
import type { OwnStack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';

/** An export request with one resource and no spans. */
const EMPTY_RESOURCE = Buffer.from([0x0a, 0x00]);

/** What MLflow's store says then is nothing that anybody could know beforehand. */
const FAULT = `
  CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'out of order'; END $$;
  CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON spans FOR EACH STATEMENT EXECUTE FUNCTION fail();`;
const MENDED = `DROP TRIGGER fault ON spans; DROP FUNCTION fail();`;

/** As it runs in production: two workers, and both stores in PostgreSQL. */
describe.skipIf(skipWithout('postgres'))('MLflow with two workers on PostgreSQL', () => {
  const finishers: (() => Promise<void>)[] = [];
  let postgres: Postgres;
  let stack: OwnStack;
  beforeAll(async () => {
    ({ postgres, stack } = await startStackOnPostgres((finish) => finishers.push(finish)));
  });
  afterAll(async () => {
    for (const finish of finishers.toReversed()) await finish();
  });
  // A test that fails half-way must not take the others with it.
  beforeEach(async () => {
    if (postgres.pid() === undefined) await postgres.start();
  });

  test('what it refuses it takes once it is mended, and gives it back so', async () => {
    const { got, wanted } = await tryMended(stack, { ...EVERYWHERE, ...HALF_PAIRS, ...ON_POSTGRESQL });
    expect(got).toEqual(wanted);
  });

  test('gets a span that came many times once, so that it refuses nothing', async () => {
    const right = { state: 'OK', spans: 22, tokens: 10 };
    expect(await tryEqualCopies(stack, 22, 10)).toEqual({ statuses: [200], first: right, last: right });
  });

  test.each([true, false])('shows the ended one of two copies (the first is out: %s)', async (isFirstOut) => {
    for (const isTakenApart of [true, false]) {
      const shown = await tryDifferentCopies(stack, ['ended', 'open'], { isFirstOut, isTakenApart });
      expect(shown).toMatchObject({ state: 'OK', spans: 2, name: 'ended' });
    }
  });

  test('takes traces whose spans come mixed from several senders, without a deadlock', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    // The settings that it comes with.
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const spansPerTrace = 4;
    const senders = await Promise.all(
      Array.from({ length: spansPerTrace }, () => createSender(relay.url, clientFiles(stack))),
    );
    const groups = Array.from({ length: 30 }, () =>
      Array.from({ length: 6 }, () => makeTrace(spansPerTrace)),
    );
    // Each sender has one span of every trace, and none waits for the others.
    await Promise.all(
      senders.map(async (sender, index) => {
        for (const traces of groups) await sender.send(requestOf(traces.map(({ spans }) => spans[index]!)));
      }),
    );
    await Promise.all(senders.map((sender) => sender.close()));
    await waitUntilDelivered(relay);
    const account = await accountOf(relay);
    const spans = groups.flat().length * spansPerTrace;
    expect(account).toMatchObject({ accepted: spans, delivered: spans, rejected: 0, deadLetters: 0 });
    expectBalanced(account);
    expect(
      await metric(relay, 'upstream_request_duration_seconds_count{destination="mlflow",outcome="retry"}'),
    ).toBe(0);
    await expectStored(stack.mlflow, experiment, groups.flat());
    await expectNoDeadlock();
    const workers = (await readFile(stack.server.logFile, 'utf8')).match(/Started server process/g);
    expect(workers).toHaveLength(2);
    // Both stores are where they should be, and nothing has gone to a file of SQLite.
    expect(
      await postgres.query(TRACKING, `SELECT count(*) FROM spans WHERE experiment_id = ${experiment}`),
    ).toBe(String(spans));
    expect(
      await postgres.query('auth', `SELECT username FROM users WHERE username LIKE 'service-account-%'`),
    ).toBe('service-account-relay');
  });

  test.each(['SIGINT', 'SIGKILL'] as const)(
    'loses nothing while PostgreSQL is away after %s',
    async (signal) => {
      const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
      const relay = await startTestRelay(stack, { experiment: { id: experiment } });
      const stream = streamTraces(relay.sender, 50);
      await stream.acknowledge(10);
      await stack.mlflow.waitForTraces(experiment, 1);

      await postgres.stop(signal);
      await stream.acknowledge(10);
      await waitForDestination(relay, 'anything but up', ({ state }) => /^(retrying|blocked)$/.test(state));
      // Who has the token is looked up in the database, and an account that cannot be found is let in nowhere.
      await waitFor('MLflow did not answer 401', DEADLINE_MS, async () =>
        (await probe(experiment)) === 401 ? true : undefined,
      );
      expect(await isReady(relay)).toBe(true);
      const between = await accountOf(relay);
      expect(between.waiting).toBeGreaterThan(0);
      expectBalanced(between);

      await postgres.start();
      await stream.acknowledge(10);
      await stream.stop();
      // It has seen refusals, after which it asks less and less often.
      await waitFor('the destination was not up again', 3 * DEADLINE_MS, async () =>
        (await destinationStatus(relay)).state === 'up' ? true : undefined,
      );
      await waitUntilDelivered(relay);
      const account = await accountOf(relay);
      expect(account).toMatchObject({ deadLetters: 0, rejected: 0, waiting: 0 });
      expectBalanced(account);
      await expectStored(stack.mlflow, experiment, stream.acknowledged);
      await expectNoDeadlock();
    },
    5 * DEADLINE_MS,
  );

  test(
    'makes no dead letter of spans that its store refuses as it would a bad one, but is blocked until it stores them again',
    async () => {
      const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
      const relay = await startTestRelay(stack, {
        experiment: { id: experiment },
        more: { delivery: { max_batch_spans: 10 } },
      });
      const before = makeTrace(2);
      await relay.sender.send(requestOf(before.spans));
      await waitUntilDelivered(relay);

      await postgres.query(TRACKING, FAULT);
      const during = Array.from({ length: 20 }, () => makeTrace(3));
      for (const { spans } of during) await relay.sender.send(requestOf(spans));
      const { reason, waiting_spans: waiting } = await waitForDestination(
        relay,
        'blocked',
        ({ state }) => state === 'blocked',
      );
      expect(reason).toContain('whatever is sent is answered like this');
      expect(waiting).toBe(60);
      expect(await isReady(relay)).toBe(true);

      await postgres.query(TRACKING, MENDED);
      await waitUntilDelivered(relay);
      const account = await accountOf(relay);
      expect(account).toMatchObject({ accepted: 62, delivered: 62, deadLetters: 0, rejected: 0 });
      expectBalanced(account);
      await expectStored(stack.mlflow, experiment, [before, ...during]);
    },
    3 * DEADLINE_MS,
  );

  /** What a request without spans is answered that has a good token. */
  async function probe(experimentId: string): Promise<number> {
    const response = await fetch(`${stack.mlflowUrl}/v1/traces`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${await stack.token()}`,
        'content-type': 'application/x-protobuf',
        'x-mlflow-experiment-id': experimentId,
      },
      body: EMPTY_RESOURCE,
    });
    return response.status;
  }

  async function expectNoDeadlock(): Promise<void> {
    const counted = `SELECT coalesce(sum(deadlocks), 0) FROM pg_stat_database`;
    expect(await postgres.query(TRACKING, counted)).toBe('0');
    expect(await readFile(postgres.logFile, 'utf8')).not.toContain('deadlock');
  }
});
