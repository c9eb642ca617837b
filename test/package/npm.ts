import { execFile } from 'node:child_process';
import { accessSync, constants, realpathSync } from 'node:fs';
import { cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { basename, delimiter, join, relative } from 'node:path';
import { promisify } from 'node:util';

/* What a person does with npm: a package from a clone of the project, and a command from the package. */

export const PROJECT = join(import.meta.dirname, '../..');

/** What a clone does not have. */
const NOT_IN_A_CLONE = new Set(['.git', '.cache', 'dist', 'node_modules', 'data']);
const QUIET = ['--no-audit', '--no-fund'];
const LIMIT_MS = 120_000;

export type Ended = { code: number; stdout: string; stderr: string };

/** Runs a program to its end. */
export async function run(
  [program = '', ...args]: readonly string[],
  { cwd, env }: { cwd: string; env: NodeJS.ProcessEnv },
): Promise<Ended> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, {
      cwd,
      env,
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: 16 * 1024 * 1024,
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as Partial<Ended>;
    if (typeof code !== 'number') throw error;
    return { code, stdout: stdout ?? '', stderr: stderr ?? '' };
  }
}

/**
 * As `npm pack` makes it in a clone whose dependencies are installed.
 * @param extra files that lie about in the clone
 * @returns path of the package
 */
export async function pack(folder: string, extra: Readonly<Record<string, string>>): Promise<string> {
  const clone = join(folder, 'clone');
  await cp(PROJECT, clone, {
    recursive: true,
    filter: (path) => !NOT_IN_A_CLONE.has(relative(PROJECT, path)) && basename(path) !== 'node_modules',
  });
  await symlink(realpathSync(join(PROJECT, 'node_modules')), join(clone, 'node_modules'));
  for (const [name, content] of Object.entries(extra)) await writeFile(join(clone, name), content);

  const made = join(folder, 'made');
  await mkdir(made);
  const command = [process.execPath, npmCli(), 'pack', '--pack-destination', made];
  const { code, stdout, stderr } = await run(command, { cwd: clone, env: process.env });
  if (code !== 0) throw new Error(`npm pack: ${stdout}${stderr}`);
  const [name = ''] = await readdir(made);
  return join(made, name);
}

/** What a global installation is used with. */
export type Installed = {
  /** Nothing is on its PATH but Node and the command: no compiler, no make, no Python, no shell. */
  env: { PATH: string; HOME: string };
  /** Made for this installation alone. */
  folder: string;
  /** The installed package, below which its dependencies are. */
  directory: string;
};

/** Installs the package with this Node for all that `folder` is to it. */
export async function installGlobally(node: string, archive: string, folder: string): Promise<Installed> {
  const programs = join(folder, 'programs');
  await mkdir(programs, { recursive: true });
  await symlink(node, join(programs, 'node'));
  const command = [
    'install',
    '--global',
    '--prefix',
    folder,
    '--engine-strict',
    '--prefer-offline',
    ...QUIET,
  ];
  const { code, stdout, stderr } = await run([node, npmCli(), ...command, archive], {
    cwd: folder,
    env: { ...process.env, PATH: programs },
  });
  if (code !== 0) throw new Error(`npm install: ${stdout}${stderr}`);
  return {
    env: { PATH: [join(folder, 'bin'), programs].join(delimiter), HOME: folder },
    folder,
    directory: join(folder, 'lib/node_modules/mlflow-trace-relay'),
  };
}

/** The program behind `npm`, so that the Node that runs it can be chosen. */
function npmCli(): string {
  const cli = process.env['npm_execpath'];
  if (cli !== undefined && basename(cli) === 'npm-cli.js') return cli;
  const found = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((directory) => join(directory, 'npm'))
    .find(isExecutable);
  if (found === undefined) throw new Error('npm is not on the PATH');
  return realpathSync(found);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
