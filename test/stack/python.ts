import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { RelayError } from '../../src/errors.ts';
import { lockDirectory } from '../../src/queue/lock.ts';
import { StackError, waitFor } from './processes.ts';

/*
 * MLflow and the Python OpenTelemetry SDK in a virtual environment of the project's own, from pinned
 * requirements. mlflow-oidc-auth's newest release needs Python 3.12; for 3.11 there is an older one.
 */

const run = promisify(execFile);
const UV = 'uv==0.13.9';
/** Best first; a later one is taken too, where it is what python3 means. */
const VERSIONS = ['3.13', '3.12', '3.14', '3.11'];
/** Far above what installing takes, so that a stuck installer is reported rather than awaited for ever. */
const INSTALL_LIMIT_MS = 15 * 60_000;

export const MISSING_PYTHON =
  'MLflow needs Python 3.11 or later (3.12 or 3.13 is best), and none was found: install it, or set PYTHON to it';

export type Python = { command: string; version: string };

export type PythonEnvironment = {
  directory: string;
  python: string;
  /** What is installed, in a few characters: data written by other versions may not fit. */
  id: string;
};

/** The best Python of this machine, or undefined: $PYTHON if set, else what the PATH and pyenv have. */
export async function findPython(env: NodeJS.ProcessEnv = process.env): Promise<Python | undefined> {
  const chosen = env['PYTHON'];
  if (chosen !== undefined && chosen !== '') {
    const python = await probe(chosen);
    if (python === undefined) throw new StackError(`PYTHON is ${chosen}, which is no Python 3.11 or later`);
    return python;
  }
  let second: Python | undefined;
  for (const candidate of await candidates(env)) {
    const python = await probe(candidate);
    if (python !== undefined && python.version !== '3.11') return python;
    second ??= python;
  }
  return second;
}

async function candidates(env: NodeJS.ProcessEnv): Promise<string[]> {
  const pyenv = join(env['PYENV_ROOT'] ?? join(homedir(), '.pyenv'), 'versions');
  const installed = await readdir(pyenv).catch(() => []);
  const versioned = VERSIONS.flatMap((version) =>
    [`python${version}`].concat(
      installed
        .filter((name) => name.startsWith(`${version}.`))
        .map((name) => join(pyenv, name, 'bin', 'python3')),
    ),
  );
  return versioned.concat('python3', 'python');
}

/** Runs it, since a shim of pyenv may stand on the PATH without a Python behind it. */
async function probe(command: string): Promise<Python | undefined> {
  try {
    const code = 'import sys, ssl, sqlite3; print("%d.%d" % sys.version_info[:2])';
    const { stdout } = await run(command, ['-c', code], { timeout: 20_000 });
    const version = stdout.trim();
    return /^3\.(1[1-9]|[2-9]\d)$/.test(version) ? { command, version } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The virtual environment in `cacheDir`, made if it is not there yet. Two processes may ask at once.
 * @throws StackError in one line; the log of a failed install is a file that the line names
 */
export async function ensurePythonEnvironment(
  cacheDir: string,
  { env = process.env, signal }: { env?: NodeJS.ProcessEnv; signal?: AbortSignal } = {},
): Promise<PythonEnvironment> {
  const found = await findPython(env);
  if (found === undefined) throw new StackError(MISSING_PYTHON);
  const requirements = join(
    import.meta.dirname,
    found.version === '3.11' ? 'requirements-3.11.txt' : 'requirements.txt',
  );
  const id = createHash('sha256')
    .update(await readFile(requirements))
    .digest('hex')
    .slice(0, 12);
  const directory = join(cacheDir, `venv-${found.version}-${id}`);
  const environment = { directory, python: join(directory, 'bin', 'python'), id };
  const stamp = join(directory, 'complete');
  // The Python that it was made with may be gone.
  const isComplete = () => existsSync(stamp) && existsSync(environment.python);
  if (isComplete()) return environment;

  const lockDir = `${directory}.lock`;
  await mkdir(lockDir, { recursive: true });
  const unlock = await waitFor(
    'another process was still installing MLflow',
    INSTALL_LIMIT_MS,
    async () => tryLock(lockDir),
    { everyMs: 250, signal },
  );
  try {
    if (isComplete()) return environment;
    // What a process left that was ended on the way.
    await rm(directory, { recursive: true, force: true });
    await install(found, requirements, environment, join(cacheDir, 'python-install.log'), { env, signal });
    await writeFile(stamp, '');
    return environment;
  } finally {
    unlock();
  }
}

function tryLock(directory: string): (() => void) | undefined {
  try {
    return lockDirectory(directory);
  } catch (error) {
    if (error instanceof RelayError && error.code === 'QUEUE_LOCKED') return undefined;
    throw error;
  }
}

async function install(
  found: Python,
  requirements: string,
  { directory, python }: PythonEnvironment,
  logFile: string,
  { env, signal }: { env: NodeJS.ProcessEnv; signal: AbortSignal | undefined },
): Promise<void> {
  let output = '';
  async function step(command: string, args: readonly string[]): Promise<boolean> {
    output += `$ ${command} ${args.join(' ')}\n`;
    try {
      const { stdout, stderr } = await run(command, args, {
        env: pythonEnv(env),
        timeout: INSTALL_LIMIT_MS,
        maxBuffer: 64 * 1024 * 1024,
        ...(signal && { signal }),
      });
      output += stdout + stderr;
      return true;
    } catch (error) {
      signal?.throwIfAborted();
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      output += `${stdout}${stderr}${String(error)}\n`;
      return false;
    }
  }

  const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--quiet'];
  const uv = ['-m', 'uv', 'pip', 'install', '--python', python];
  try {
    if (!(await step(found.command, ['-m', 'venv', directory]))) {
      throw new StackError(
        `${found.command} cannot make a virtual environment; on Debian, install python${found.version}-venv (more in ${logFile})`,
      );
    }
    const installed =
      ((await step(python, [...pip, UV])) && (await step(python, [...uv, '-r', requirements]))) ||
      // uv is only the faster way.
      (await step(python, [...pip, '-r', requirements]));
    if (!installed) {
      throw new StackError(`MLflow could not be installed from PyPI; pip's own words are in ${logFile}`);
    }
    // Compiles what MLflow's start loads, and nothing of the far larger rest.
    await step(python, ['-c', 'import mlflow.server.fastapi_app']);
  } finally {
    await writeFile(logFile, output, { mode: 0o600 });
  }
}

/** The environment for Python programs: without what would point them elsewhere, or forbid the compiled files that halve MLflow's start. */
export function pythonEnv(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const kept = { ...env, PYTHONUNBUFFERED: '1' } as NodeJS.ProcessEnv;
  for (const name of [
    'PYTHONDONTWRITEBYTECODE',
    'PYTHONPATH',
    'PYTHONHOME',
    'VIRTUAL_ENV',
    'UV_SYSTEM_PYTHON',
  ]) {
    delete kept[name];
  }
  return kept;
}
