import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CACHE, ensureInstalled } from './install.ts';
import type { Step } from './install.ts';
import { StackError } from './processes.ts';

/*
 * MLflow and the Python OpenTelemetry SDK in a virtual environment of the project's own, from pinned
 * requirements. mlflow-oidc-auth's newest release needs Python 3.12; for 3.11 there is an older one.
 */

const run = promisify(execFile);
const UV = 'uv==0.13.9';
/** What pip calls a requirement met by one version alone. */
const PIN = /^([\w.-]+)==/;
/** Before the one of the requirements: with it a span has no kind, and a trace may be sent to several experiments. */
const PREVIOUS_MLFLOW = 'mlflow==3.17.2';
/** Best first; a later one is taken too, where it is what python3 means. */
const VERSIONS = ['3.13', '3.12', '3.14', '3.11'];

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
 * The virtual environment with MLflow in `cacheDir`, made if it is not there yet. Two processes may ask at once.
 * @throws StackError in one line; the log of a failed install is a file that the line names
 */
export async function ensurePythonEnvironment(
  cacheDir: string,
  {
    env = process.env,
    signal,
    pins,
  }: { env?: NodeJS.ProcessEnv; signal?: AbortSignal | undefined; pins?: readonly string[] } = {},
): Promise<PythonEnvironment> {
  const found = await findPython(env);
  if (found === undefined) throw new StackError(MISSING_PYTHON);
  const requirements = found.version === '3.11' ? 'requirements-3.11.txt' : 'requirements.txt';
  return ensureVirtualEnvironment(join(import.meta.dirname, requirements), {
    what: 'MLflow',
    // Compiles what MLflow's start loads, and nothing of the far larger rest.
    warmUp: 'import mlflow.server.fastapi_app',
    pins,
    cacheDir,
    env,
    signal,
  });
}

/** The same as `ensurePythonEnvironment`, but for the MLflow of before. */
export function ensurePreviousMlflow(signal?: AbortSignal): Promise<PythonEnvironment> {
  return ensurePythonEnvironment(CACHE, { signal, pins: [PREVIOUS_MLFLOW] });
}

/**
 * A virtual environment with what a file of pinned requirements names, and nothing else, by the best Python that there
 * is.
 */
export async function ensureVirtualEnvironment(
  requirements: string,
  options: {
    /** For messages. */
    what: string;
    /** A line of Python that loads what will be needed, so that it is compiled. */
    warmUp?: string;
    /** Each as in `mlflow==3.17.2`: goes before what the file says of that package. */
    pins?: readonly string[] | undefined;
    cacheDir?: string;
    env?: NodeJS.ProcessEnv;
    signal?: AbortSignal | undefined;
  },
): Promise<PythonEnvironment> {
  const { what, warmUp, pins = [], cacheDir, env = process.env, signal } = options;
  const found = await findPython(env);
  if (found === undefined) throw new StackError(MISSING_PYTHON);
  const text = pinned(await readFile(requirements, 'utf8'), pins);
  const recipe = {
    what,
    name: `venv-${found.version}`,
    inputs: [text],
    async make(directory: string, step: Step) {
      const file = join(directory, 'requirements.txt');
      await writeFile(file, text);
      await install(found, file, directory, { what, env, step });
      if (warmUp !== undefined) await step(pythonOf(directory), ['-c', warmUp], { env: pythonEnv(env) });
    },
  };
  const { directory, id } = await ensureInstalled(recipe, {
    cacheDir,
    signal,
    // The Python that it was made with may be gone.
    isUsable: (made) => existsSync(pythonOf(made)),
  });
  return { directory, python: pythonOf(directory), id };
}

function pinned(requirements: string, pins: readonly string[]): string {
  const byName = new Map(pins.map((pin) => [PIN.exec(pin)?.[1], pin]));
  return requirements.replaceAll(/^.+$/gm, (line) => byName.get(PIN.exec(line)?.[1]) ?? line);
}

function pythonOf(directory: string): string {
  return join(directory, 'bin', 'python');
}

async function install(
  found: Python,
  requirements: string,
  directory: string,
  { what, env, step }: { what: string; env: NodeJS.ProcessEnv; step: Step },
): Promise<void> {
  const python = pythonOf(directory);
  const options = { env: pythonEnv(env) };
  const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--quiet'];
  const uv = ['-m', 'uv', 'pip', 'install', '--python', python];
  // The file names everything, and leaves out on purpose what a package asks for and does not need.
  const all = ['--no-deps', '-r', requirements];
  if (!(await step(found.command, ['-m', 'venv', directory], options))) {
    throw new StackError(
      `${found.command} cannot make a virtual environment; on Debian, install python${found.version}-venv`,
    );
  }
  const installed =
    ((await step(python, [...pip, UV], options)) && (await step(python, [...uv, ...all], options))) ||
    // uv is only the faster way.
    (await step(python, [...pip, ...all], options));
  if (!installed) throw new StackError(`${what} could not be installed from PyPI`);
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
