import { readFile } from 'node:fs/promises';
import type { Postgres } from '../../stack/postgres.ts';
import { waitFor } from '../../stack/processes.ts';

/** What is stored of an experiment. */
export type Stored = {
  readonly spans: number;
  /** When the last of them was committed, ms since the Unix epoch; NaN without spans. */
  readonly lastAt: number;
  /** From the end of a span to its commit, in seconds. */
  readonly p50: number;
  readonly p95: number;
  /** Traces that MLflow shows as unfinished. */
  readonly inProgress: number;
  /** What each transaction has brought, in the order of their commits. */
  readonly commits: readonly Commit[];
};

export type Commit = { readonly at: number; readonly spans: number; readonly traces: number };

/** MLflow's tracking database, as one may look at it from the side. */
export type Database = {
  /** Resolves when nothing is being stored, which a forwarder may have given up long before. */
  untilQuiet(signal: AbortSignal): Promise<void>;
  /** When each span was committed tells PostgreSQL itself, so that nothing has to be asked meanwhile. */
  stored(experimentId: string): Promise<Stored>;
  /** When each trace was complete, ms since the Unix epoch, from the first to the last. */
  completedAt(experimentId: string): Promise<number[]>;
  /** So far; from the log, as PostgreSQL's own counter lags behind. */
  deadlocks(): Promise<number>;
  /** Removes all traces, so that every measurement begins with tables of the same size. */
  clear(): Promise<void>;
};

/** Of which the first may come between two transactions. */
const QUIET_LOOKS = 3;
const QUIET_LIMIT_MS = 180_000;

/** SQL: when a row was committed, in seconds. */
const committed = 'extract(epoch FROM pg_xact_commit_timestamp(xmin))';

function ofExperiment(experimentId: string): string {
  return `WHERE experiment_id = ${Number(experimentId)}`;
}

/** To be called before MLflow is started: PostgreSQL is started again, to keep the times of commits. */
export async function openDatabase(postgres: Postgres, name: string): Promise<Database> {
  await postgres.query(name, 'ALTER SYSTEM SET track_commit_timestamp = on');
  await postgres.stop();
  await postgres.start();

  async function rows(sql: string): Promise<number[][]> {
    const text = await postgres.query(name, sql);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('|').map((field) => (field === '' ? Number.NaN : Number(field))));
  }

  async function row(sql: string): Promise<number[]> {
    return (await rows(sql))[0] ?? [];
  }

  return {
    async untilQuiet(signal) {
      let looks = 0;
      const look = async () => {
        const [open] = await row(
          "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()",
        );
        looks = open === 0 ? looks + 1 : 0;
        return looks === QUIET_LOOKS ? true : undefined;
      };
      await waitFor('MLflow was not done storing', QUIET_LIMIT_MS, look, { everyMs: 300, signal });
    },
    async stored(experimentId) {
      const where = ofExperiment(experimentId);
      const waited = `${committed} - end_time_unix_nano / 1e9`;
      const commits = await rows(`
        SELECT ${committed} * 1000, count(*), count(DISTINCT trace_id)
        FROM spans ${where} GROUP BY 1 ORDER BY 1`);
      const [p50 = Number.NaN, p95 = Number.NaN] = await row(`
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ${waited}),
               percentile_cont(0.95) WITHIN GROUP (ORDER BY ${waited})
        FROM spans ${where}`);
      const [inProgress = Number.NaN] = await row(
        `SELECT count(*) FROM trace_info ${where} AND status = 'IN_PROGRESS'`,
      );
      const list = commits.map(([at = Number.NaN, spans = 0, traces = 0]) => ({ at, spans, traces }));
      return {
        spans: list.reduce((sum, { spans }) => sum + spans, 0),
        lastAt: list.at(-1)?.at ?? Number.NaN,
        p50,
        p95,
        inProgress,
        commits: list,
      };
    },
    async completedAt(experimentId) {
      const times = await rows(
        `SELECT max(${committed}) * 1000 FROM spans ${ofExperiment(experimentId)} GROUP BY trace_id ORDER BY 1`,
      );
      return times.map(([at = Number.NaN]) => at);
    },
    async deadlocks() {
      const log = await readFile(postgres.logFile, 'utf8');
      return log.split('ERROR:  deadlock detected').length - 1;
    },
    async clear() {
      await postgres.query(name, 'TRUNCATE trace_info CASCADE');
    },
  };
}
