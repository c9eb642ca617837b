import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isLong } from '../fault/support/run.ts';
import { startMariadb } from '../stack/mariadb.ts';
import type { Mariadb } from '../stack/mariadb.ts';
import type { Postgres } from '../stack/postgres.ts';
import { waitFor } from '../stack/processes.ts';
import { expectWhole } from './support/compare.ts';
import {
  accountOf,
  expectBalanced,
  startTestRelay,
  temporaryFolder,
  waitUntilDelivered,
} from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { streamTraces } from './support/sender.ts';
import { skipWithout } from './support/skip.ts';
import { startOwnStack } from './support/stack.ts';
import type { OwnStack } from './support/stack.ts';
import { startStackOnPostgres, TRACKING } from './support/stack-on-postgres.ts';
import { makeTrace, requestOf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

/** For halves of halves, beside good traffic, on a machine that does other things too. */
const LIMIT_MS = 180_000;
/** A span is given up after ten minutes and ten failures; their pauses double. */
const LETTER_LIMIT_MS = 40 * 60_000;

type SlowTrace = { trace_id: string; waiting_spans: number; reason: string };

async function slowTraces(relay: TestRelay): Promise<SlowTrace[]> {
  const status = (await relay.status()) as { destinations: { mlflow: { slow_traces?: SlowTrace[] } } };
  return status.destinations.mlflow.slow_traces ?? [];
}

/**
 * Sends what has one span that MLflow never takes, beside a stream of good traces.
 * @returns once all but that span is stored, and the status names its trace
 */
async function sendBeside(relay: TestRelay, traces: readonly TestTrace[], bad: TestTrace) {
  const stream = streamTraces(relay.sender, 100);
  // So that it is known how the upstream is otherwise.
  await stream.acknowledge(50);
  await relay.sender.send(requestOf(traces.flatMap(({ spans }) => spans)));
  const named = await waitFor('its one span was not alone', LIMIT_MS, async () => {
    const trace = (await slowTraces(relay)).find(({ trace_id: id }) => id === bad.traceId);
    return trace?.waiting_spans === 1 ? trace : undefined;
  });
  // And others go on.
  await stream.acknowledge(50);
  await stream.stop();
  await waitFor('others were not stored', LIMIT_MS, async () =>
    (await accountOf(relay)).waiting === 1 ? true : undefined,
  );
  return { named, good: [...stream.acknowledged] };
}

/** In the long form: until the span is a dead letter. */
async function expectLetter(relay: TestRelay): Promise<void> {
  const stream = streamTraces(relay.sender, 1_000);
  await waitFor('the span was no dead letter', LETTER_LIMIT_MS, async () =>
    (await accountOf(relay)).deadLetters === 1 ? true : undefined,
  );
  await stream.stop();
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ waiting: 0, deadLetters: 1, delivered: account.accepted - 1 });
  expectBalanced(account);
}

describe.skipIf(skipWithout('postgres'))('MLflow on PostgreSQL with a statement_timeout', () => {
  const finishers: (() => Promise<void>)[] = [];
  let postgres: Postgres;
  let stack: OwnStack;
  beforeAll(async () => {
    ({ postgres, stack } = await startStackOnPostgres((finish) => finishers.push(finish)));
  });
  afterAll(async () => {
    for (const finish of finishers.toReversed()) await finish();
  });

  test('a span that takes longer costs no other, is named, and in the end a dead letter', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    await postgres.query(
      TRACKING,
      `CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF NEW.name = 'lingers' THEN PERFORM pg_sleep(20); END IF; RETURN NEW; END $$;
       CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON spans FOR EACH ROW EXECUTE FUNCTION linger();
       ALTER ROLE stack SET statement_timeout = '1s';
       SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${TRACKING}' AND pid <> pg_backend_pid();`,
    );
    const traces = Array.from({ length: 30 }, () => makeTrace(3));
    const bad = traces[10]!;
    bad.spans[1] = { ...bad.spans[1]!, name: 'lingers' };
    const { named, good } = await sendBeside(relay, traces, bad);
    expect(named.reason).toContain('canceling statement due to statement timeout');
    expect(named.reason).toContain('while other traces were stored');
    await expectWhole(stack.mlflow, [...good, ...traces.filter((trace) => trace !== bad)]);
    if (isLong) {
      await expectLetter(relay);
      return;
    }
    await postgres.query(TRACKING, 'DROP TRIGGER slow ON spans; ALTER ROLE stack RESET statement_timeout');
    await waitFor('it did not go by itself once it could', LIMIT_MS, async () =>
      (await accountOf(relay)).waiting === 0 ? true : undefined,
    );
    await expectWhole(stack.mlflow, [bad]);
    expect(await accountOf(relay)).toMatchObject({ deadLetters: 0 });
  });
});

describe.skipIf(skipWithout('apt'))('MLflow on MariaDB 10.11, whose packets are small', () => {
  const finishers: (() => Promise<void>)[] = [];
  let mariadb: Mariadb;
  let stack: OwnStack;
  beforeAll(async () => {
    const directory = await temporaryFolder((finish) => finishers.push(finish));
    mariadb = await startMariadb({ directory, settings: ['max-allowed-packet=1M'] });
    stack = await startOwnStack({
      database: { tracking: mariadb.url, auth: `sqlite:///${join(directory, 'auth.db')}` },
      environment: { PYTHONPATH: mariadb.pythonPath },
    });
  });
  afterAll(async () => {
    await stack?.stop();
    await mariadb?.stop();
    for (const finish of finishers) await finish();
  });

  test('a request that is too large goes in halves; a span that is costs no other', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const large = makeTrace(6, { attributes: { text: 'x'.repeat(250_000) } });
    const bad = makeTrace(3);
    bad.spans[1] = { ...bad.spans[1]!, attributes: { text: 'y'.repeat(1_500_000) } };
    const stream = streamTraces(relay.sender, 100);
    await stream.acknowledge(50);
    await relay.sender.send(requestOf([...large.spans, ...bad.spans]));
    await stream.acknowledge(50);
    await stream.stop();
    // MLflow answers 503 at first; where its next word is a refusal, the span is a dead letter at once.
    await waitFor('others were not stored', LIMIT_MS, async () => {
      const { waiting, deadLetters } = await accountOf(relay);
      return waiting + deadLetters === 1 ? true : undefined;
    });
    await expectWhole(stack.mlflow, [...stream.acknowledged, large]);
    expect((await accountOf(relay)).rejected).toBe(0);
  });
});
