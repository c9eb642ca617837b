import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeDevelopmentCertificates } from '../../stack/certificates.ts';
import type { DevelopmentCertificates } from '../../stack/certificates.ts';
import { createMlflowClient } from '../../stack/mlflow-client.ts';
import { startMlflow } from '../../stack/mlflow.ts';
import { startOidcProvider } from '../../stack/oidc-provider.ts';
import { startPostgres } from '../../stack/postgres.ts';
import { pythonEnv } from '../../stack/python.ts';
import type { PythonEnvironment } from '../../stack/python.ts';
import { cpuOf } from '../cpu.ts';
import { openDatabase } from './database.ts';
import type { Database } from './database.ts';

/** MLflow with mlflow-oidc-auth on PostgreSQL, an OpenID provider and certificates, for all measurements of a run. */
export type Setting = {
  readonly mlflowUrl: string;
  readonly issuer: string;
  readonly client: { clientId: string; secret: string };
  readonly certificates: DevelopmentCertificates;
  readonly database: Database;
  token(): Promise<string>;
  /** A fresh experiment of the account whose tokens are used. */
  createExperiment(): Promise<string>;
  /** CPU time so far, in seconds. */
  cpu(): { mlflow: number; postgres: number };
  /** Requests for traces that MLflow has answered so far, by status. */
  requests(): Promise<Map<number, number>>;
  /** Another MLflow for the same tokens, on SQLite. */
  startOnSqlite(): Promise<Pick<Setting, 'mlflowUrl' | 'createExperiment'>>;
  /** In a few words, for the head of a report. */
  versions(): Promise<string>;
  /** Rejects when something ends that should not. */
  readonly failed: Promise<never>;
};

const MLFLOW_WORKERS = 2;
const PACKAGE_VERSIONS = `
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in ("mlflow", "mlflow-oidc-auth")))
`;
const run = promisify(execFile);

/** @param undo gets what stops it, from the last to the first */
export async function startSetting(
  directory: string,
  python: PythonEnvironment,
  undo: (() => unknown)[],
  signal: AbortSignal,
): Promise<Setting> {
  const client = { clientId: 'relay', secret: secret() };
  const certificates = await writeDevelopmentCertificates(join(directory, 'certificates'), {
    clientUri: 'spiffe://bench.example/sender',
  });
  const oidc = await startOidcProvider({
    port: 0,
    services: [{ ...client, username: 'service-account-relay' }],
  });
  undo.push(() => oidc.stop());
  const postgresDirectory = await mkdtemp(join(tmpdir(), 'relay-bench-postgres-'));
  undo.push(() => rm(postgresDirectory, { recursive: true, force: true }));
  const postgres = await startPostgres({ directory: postgresDirectory, signal });
  undo.push(() => postgres.stop());
  await postgres.createDatabase('tracking');
  await postgres.createDatabase('auth');
  const database = await openDatabase(postgres, 'tracking');
  const common = {
    python,
    oidc,
    browser: { clientId: 'mlflow', secret: secret() },
    sessionSecret: secret(),
    workers: MLFLOW_WORKERS,
    // On a busy machine its supervisor takes a slow worker for a dead one after 5 s, and kills it.
    environment: { UVICORN_TIMEOUT_WORKER_HEALTHCHECK: '120' },
    signal,
  };
  const stores = { tracking: postgres.url('tracking'), auth: postgres.url('auth') };
  const mlflow = await startMlflow({ ...common, directory: join(directory, 'mlflow'), database: stores });
  undo.push(() => mlflow.stop());
  const failed = Promise.race([mlflow.failed, postgres.failed]);
  failed.catch(() => {}); // nobody may be waiting for it yet
  const token = () => oidc.token(client.clientId);
  const createExperiment = (url: string) =>
    createMlflowClient(url, token).ensureExperiment(`bench-${randomBytes(6).toString('hex')}`);
  return {
    mlflowUrl: mlflow.url,
    issuer: oidc.issuer,
    client,
    certificates,
    database,
    token,
    createExperiment: () => createExperiment(mlflow.url),
    async startOnSqlite() {
      const other = await startMlflow({ ...common, directory: join(directory, 'mlflow-sqlite') });
      undo.push(() => other.stop());
      return { mlflowUrl: other.url, createExperiment: () => createExperiment(other.url) };
    },
    cpu: () => ({ mlflow: cpuOf(mlflow), postgres: cpuOf(postgres) }),
    requests: async () => countAnswers(await readFile(mlflow.logFile, 'utf8')),
    async versions() {
      const [version] = (await postgres.query('tracking', 'SHOW server_version')).split(' ');
      const { stdout } = await run(python.python, ['-c', PACKAGE_VERSIONS], { env: pythonEnv() });
      return `${stdout.trim()}, ${MLFLOW_WORKERS} workers, on PostgreSQL ${version}`;
    },
    failed,
  };
}

function secret(): string {
  return randomBytes(24).toString('base64url');
}

/** From the access log. */
export function countAnswers(log: string): Map<number, number> {
  const counts = new Map<number, number>();
  for (const [, status] of log.matchAll(/"POST \/v1\/traces HTTP\/[\d.]+" (\d{3})/g)) {
    counts.set(Number(status), (counts.get(Number(status)) ?? 0) + 1);
  }
  return counts;
}
