import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Postgres } from '../stack/postgres.ts';
import { waitFor } from '../stack/processes.ts';
import { expectStored } from './support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  metric,
  startTestRelay,
  temporaryFolder,
  waitUntilDelivered,
} from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { skipWithout } from './support/skip.ts';
import { startStackOnPostgres, TRACKING } from './support/stack-on-postgres.ts';
import type { OwnStack } from './support/stack.ts';
import { tapInto } from './support/tap.ts';
import { makeTrace, requestOf } from './support/traces.ts';

/*
 * MLflow goes on with a request that nobody waits for any more. The same traces that come again meet it there, where
 * two that create a trace at once are the case in which MLflow has dropped spans and answered 200.
 */
describe.skipIf(skipWithout('postgres'))('an MLflow that answers too late', () => {
  const finishers: (() => Promise<void>)[] = [];
  let postgres: Postgres;
  let stack: OwnStack;
  beforeAll(async () => {
    ({ postgres, stack } = await startStackOnPostgres((finish) => finishers.push(finish)));
  });
  afterAll(async () => {
    for (const finish of finishers.toReversed()) await finish();
  });

  // Held up before it has looked which traces are there, and after it has made those that are not.
  test.each(['trace_info', 'spans'])(
    'while %s is locked gets all again, and keeps all of it',
    async (table) => {
      const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
      const tap = await tapInto(stack.mlflowUrl);
      const relay = await startImpatientRelay(tap.url, experiment);
      const groups = [0, 1].map(() => Array.from({ length: 6 }, () => makeTrace(5)));
      const traces = groups.flat();

      const release = await lock(table);
      for (const group of groups)
        await relay.sender.send(requestOf(group.flatMap(({ spans }) => spans.slice(1))));
      await waitFor('no requests were given up and made again', DEADLINE_MS, async () =>
        tap.overlapping.size > 0 && (await metric(relay, GIVEN_UP)) > 1 ? true : undefined,
      );
      // Of traces that are under way.
      await relay.sender.send(requestOf(traces.map(({ spans }) => spans[0]!)));
      await release();

      await waitUntilDelivered(relay);
      await waitFor('MLflow was not done', DEADLINE_MS, async () => (tap.pending() === 0 ? true : undefined));
      await expectStored(stack.mlflow, experiment, traces);
      expect([...tap.tooEarly]).toEqual([]);
      const account = await accountOf(relay);
      expect(account).toMatchObject({ accepted: 60, delivered: 60, rejected: 0, deadLetters: 0 });
      expectBalanced(account);
      expect(await readFile(postgres.logFile, 'utf8')).not.toContain('deadlock');
      expect(await readFile(stack.server.logFile, 'utf8')).not.toContain('will be dropped');
    },
  );

  const GIVEN_UP = 'upstream_request_duration_seconds_count{destination="mlflow",outcome="retry"}';

  async function startImpatientRelay(mlflowUrl: string, experiment: string): Promise<TestRelay> {
    const directory = await temporaryFolder();
    const auth = {
      kind: 'client_credentials',
      issuer: stack.issuer,
      client_id: stack.client.clientId,
      client_secret_file: join(directory, 'client-secret'),
    };
    const mlflow = { kind: 'mlflow', url: mlflowUrl, experiment: { id: experiment }, auth, timeout: '1s' };
    return startTestRelay(stack, { directory, more: { destinations: { mlflow } } });
  }

  /** Nothing reads or writes the table from now on, until released. */
  async function lock(table: string): Promise<() => Promise<void>> {
    const held = postgres.query(
      TRACKING,
      `BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(25)`,
    );
    // Its session is ended, of which psql complains.
    const isOver = held.catch(() => '');
    const ofHolder = `FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE %' AND pid <> pg_backend_pid()`;
    const release = async () => {
      await postgres.query(TRACKING, `SELECT pg_terminate_backend(pid) ${ofHolder}`);
      await isOver;
    };
    onTestFinished(release);
    await waitFor('the table was not locked', DEADLINE_MS, async () => {
      const waits = await postgres.query(TRACKING, `SELECT wait_event ${ofHolder}`);
      return waits === 'PgSleep' ? true : undefined;
    });
    return release;
  }
});
