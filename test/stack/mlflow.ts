import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { OidcProvider } from './oidc-provider.ts';
import { ADMIN_GROUP, AUDIENCE, GROUP } from './oidc-provider.ts';
import { freePort, startProcess } from './processes.ts';
import { pythonEnv } from './python.ts';
import type { PythonEnvironment } from './python.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';

export type MlflowOptions = {
  /** Databases, artifacts and log; made if missing. What is there already is used on. */
  directory: string;
  python: PythonEnvironment;
  oidc: Pick<OidcProvider, 'issuer' | 'discoveryUrl'>;
  /** MLflow as a client of the provider, for people who log in. */
  browser: { clientId: string; secret: string };
  /** Signs MLflow's session cookies. */
  sessionSecret: string;
  /** A free one unless given. */
  port?: number;
  /** URLs for SQLAlchemy, of two databases that are there; two files of SQLite unless given. */
  database?: { tracking: string; auth: string };
  /** It has no users, and takes requests from everybody, as it does behind a proxy that knows who asks. */
  isOpen?: boolean;
  /** Below which it is served, with a slash at its beginning only. */
  basePath?: string;
  /** Processes that answer requests; 1 unless given. */
  workers?: number;
  /** Laid over the environment that is made here; undefined takes a name away. */
  environment?: Readonly<Record<string, string | undefined>>;
  signal?: AbortSignal;
};

/** Started again, it has the same port and data. The URL has no slash at its end. */
export type Mlflow = Service & { readonly url: string; readonly port: number; readonly logFile: string };

const SERVER = ['-m', 'mlflow', 'server', '--host', '127.0.0.1'];

/** Where people come back to after the login: by number and by name, as cookies are not shared between them. */
export function redirectUrisOf(port: number): string[] {
  return [`http://127.0.0.1:${port}/callback`, `http://localhost:${port}/callback`];
}

/**
 * A real MLflow on the loopback interface, with mlflow-oidc-auth unless it is to be open, nothing patched and no path
 * excluded from authentication. Resolves when it answers.
 * @throws StackError with the end of its log when it does not
 */
export async function startMlflow(options: MlflowOptions): Promise<Mlflow> {
  const directory = options.directory;
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}${options.basePath ?? ''}`;
  const logFile = join(directory, 'mlflow.log');
  const args = [
    ...SERVER,
    '--port',
    String(port),
    '--workers',
    String(options.workers ?? 1),
    ...(options.isOpen === true ? [] : ['--app-name', 'oidc-auth']),
    ...(options.basePath === undefined ? [] : ['--static-prefix', options.basePath]),
  ];
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);

  const service = createService({
    name: 'MLflow',
    launch: () =>
      startProcess(options.python.python, args, {
        cwd: directory,
        env: environment(options),
        logFile,
      }),
    logFile,
    healthUrl: `${url}/health`,
    readyDeadlineMs: 180_000,
    stopDeadlineMs: 10_000,
    signal: options.signal,
  });
  await service.start();
  return { ...service, url, port, logFile };
}

function environment(options: MlflowOptions): NodeJS.ProcessEnv {
  const { directory, oidc, browser, sessionSecret } = options;
  const kept = Object.entries(pythonEnv()).filter(([name]) => !/^(MLFLOW|OIDC|UVICORN|GUNICORN)_/.test(name));
  const database = options.database ?? {
    tracking: `sqlite:///${join(directory, 'mlflow.db')}`,
    auth: `sqlite:///${join(directory, 'auth.db')}`,
  };
  return {
    ...Object.fromEntries(kept),
    // These two have to agree, or MLflow keeps traces in one and looks for them in the other.
    MLFLOW_BACKEND_STORE_URI: database.tracking,
    MLFLOW_TRACKING_URI: database.tracking,
    // Seven processes of a job queue, which nothing here uses.
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false',
    MLFLOW_DISABLE_TELEMETRY: 'true',
    // Prices of models, which it would fetch from the internet while the first span with tokens waits.
    MLFLOW_MODEL_CATALOG_URI: '',
    OIDC_USERS_DB_URI: database.auth,
    OIDC_DISCOVERY_URL: oidc.discoveryUrl,
    OIDC_ISSUER: oidc.issuer,
    OIDC_AUDIENCE: AUDIENCE,
    OIDC_PROVISION_ON_BEARER_AUTH: 'true',
    OIDC_CLIENT_ID: browser.clientId,
    OIDC_CLIENT_SECRET: browser.secret,
    OIDC_GROUP_NAME: GROUP,
    OIDC_ADMIN_GROUP_NAME: ADMIN_GROUP,
    OIDC_PROVIDER_DISPLAY_NAME: 'Log in',
    AUTOMATIC_LOGIN_REDIRECT: 'true',
    DEFAULT_LANDING_PAGE_IS_PERMISSIONS: 'false',
    SECRET_KEY: sessionSecret,
    ...options.environment,
  };
}
