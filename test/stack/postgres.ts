import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { postgresProgram } from './postgres-programs.ts';
import { StackError, freePort, startProcess, waitFor } from './processes.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';

const run = promisify(execFile);

/** Started again, it has the same port, password and data. */
export type Postgres = Service & {
  readonly port: number;
  readonly logFile: string;
  /** For SQLAlchemy, with the password in it: for an environment or a file, never for a command line. */
  url(database: string): string;
  createDatabase(name: string): Promise<void>;
  /** What psql prints for the statement: a line a row, columns parted by `|`. */
  query(database: string, sql: string): Promise<string>;
};

/** Who runs the server in place of root, as which it refuses to run. */
const SERVER_USER = 'postgres';
const USER = 'stack';
const STOP_LIMIT_MS = 20_000;

/**
 * A real PostgreSQL of its own, on 127.0.0.1 only and with a random password, and otherwise as it comes.
 * @param options.directory for it alone, data and log; made if missing. Where tests run as root, it is given to the
 *   user postgres, who has to be able to reach it: a folder directly in the temporary one is right.
 * @throws StackError with what its programs said, or with the end of its log
 */
export async function startPostgres(options: { directory: string; signal?: AbortSignal }): Promise<Postgres> {
  const { directory, signal } = options;
  const port = await freePort();
  const data = join(directory, 'data');
  const logFile = join(directory, 'postgres.log');
  const password = randomBytes(24).toString('hex');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  await initialize(directory, data, password);

  const [command, args] = asServerUser([
    postgresProgram('postgres'),
    '-D',
    data,
    '-p',
    String(port),
    '-h',
    '127.0.0.1',
    '-k',
    '',
  ]);
  const launch = () => startProcess(command, args, { cwd: directory, env: ownEnv(), logFile });
  const service = createService({
    name: 'PostgreSQL',
    launch,
    logFile,
    healthUrl: async () => (await query('postgres', 'SELECT 1')) === '1',
    readyDeadlineMs: 60_000,
    stopDeadlineMs: STOP_LIMIT_MS,
    signal,
  });

  async function query(database: string, sql: string): Promise<string> {
    const target = ['-h', '127.0.0.1', '-p', String(port), '-U', USER, '-d', database];
    const { stdout } = await run(
      postgresProgram('psql'),
      ['-X', '-A', '-t', '-q', '-w', '-v', 'ON_ERROR_STOP=1', ...target, '-c', sql],
      { env: { ...ownEnv(), PGPASSWORD: password, PGCONNECT_TIMEOUT: '5' }, timeout: 30_000 },
    );
    return stdout.trimEnd();
  }

  await service.start();
  return {
    ...service,
    port,
    logFile,
    /** Without a signal as quickly as is clean: clients are sent away, not waited for. */
    async stop(kill = 'SIGINT') {
      const server = service.pid();
      if (server === undefined) return undefined;
      // Each of its processes is in a group of its own; once it stands still it makes no more of them.
      if (kill === 'SIGKILL') process.kill(server, 'SIGSTOP');
      const backends = await processesWhere((_, parent) => parent === server);
      const exit = await service.stop(kill);
      if (kill === 'SIGKILL') backends.forEach(endNow);
      // The next start refuses while one of them is there.
      await waitFor('processes of PostgreSQL were left', STOP_LIMIT_MS, async () =>
        (await processesWhere((pid) => backends.includes(pid))).length === 0 ? true : undefined,
      );
      return exit;
    },
    url: (database) => `postgresql+psycopg2://${USER}:${password}@127.0.0.1:${port}/${database}`,
    async createDatabase(name) {
      await query('postgres', `CREATE DATABASE "${name.replaceAll('"', '""')}"`);
    },
    query,
  };
}

async function initialize(directory: string, data: string, password: string): Promise<void> {
  if (existsSync(data))
    throw new StackError(`${data} is there already: PostgreSQL begins with an empty folder`);
  const passwordFile = join(directory, 'password');
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (isRoot()) await run('chown', ['-R', `${SERVER_USER}:`, directory]).catch(explain('chown'));
  const [command, args] = asServerUser([
    postgresProgram('initdb'),
    '-D',
    data,
    `--username=${USER}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C.UTF-8',
    '--no-sync',
    '--no-instructions',
  ]);
  await run(command, args, { cwd: directory }).catch(explain('initdb'));
  await rm(passwordFile);
}

/** Without a shell or a session in between, so that the process that is started is the server itself. */
function asServerUser([command, ...args]: [string, ...string[]]): [string, string[]] {
  if (!isRoot()) return [command, args];
  const identity = [`--reuid=${SERVER_USER}`, `--regid=${SERVER_USER}`, '--clear-groups'];
  return ['setpriv', [...identity, command, ...args]];
}

function explain(program: string): (error: { stderr?: string; message: string }) => never {
  return (error) => {
    throw new StackError(`${program} failed: ${error.stderr?.trim() || error.message}`, { cause: error });
  };
}

/** Without the variables by which psql and the server would be pointed elsewhere. */
function ownEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG')));
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Those that run; one that has ended and that nobody has waited for does not. */
async function processesWhere(isMeant: (pid: number, parent: number) => boolean): Promise<number[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=,stat=']);
  const rows = [...stdout.matchAll(/^ *(\d+) +(\d+) +([^Z\s])/gm)];
  return rows
    .map(([, pid, parent]) => [Number(pid), Number(parent)] as const)
    .filter(([pid, parent]) => isMeant(pid, parent))
    .map(([pid]) => pid);
}

function endNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
