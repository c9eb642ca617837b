import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { ensureInstalled } from './install.ts';
import type { Step } from './install.ts';
import { StackError, freePort, startProcess } from './processes.ts';
import { findPython, MISSING_PYTHON } from './python.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';
import { missingToolchain } from './toolchains.ts';

/*
 * MariaDB, out of Debian's packages without installing them: no root is needed where apt knows what there is. Its driver
 * for Python lies beside it, for the PYTHONPATH of an MLflow.
 */

/** The server, a program that its installer asks, and libraries that a bare machine lacks. */
const PACKAGES = ['mariadb-server-core', 'mariadb-client-core', 'libaio1', 'liburing2', 'libnuma1'];
const DRIVER = 'PyMySQL==1.2.4';

export type Mariadb = Pick<Service, 'stop' | 'failed'> & {
  /** For SQLAlchemy, with the password in it. */
  readonly url: string;
  /** Where its driver is. */
  readonly pythonPath: string;
};

/**
 * The folder with server and driver, made if it is not there yet.
 * @throws StackError in one line
 */
export async function ensureMariadb({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<string> {
  const inputs = [...PACKAGES, DRIVER];
  const { directory } = await ensureInstalled(
    { what: 'MariaDB', name: 'mariadb', inputs, make: unpack },
    { signal },
  );
  return directory;
}

async function unpack(directory: string, step: Step): Promise<void> {
  const missing = missingToolchain('apt');
  if (missing !== undefined) throw new StackError(`MariaDB cannot be had: ${missing}`);
  const download = () => step('apt-get', ['download', ...PACKAGES]);
  if (!(await download()) && !((await step('apt-get', ['update'])) && (await download())))
    throw new StackError(`the packages ${PACKAGES.join(', ')} could not be downloaded`);
  for (const file of await readdir(directory)) {
    if (file.endsWith('.deb') && !(await step('dpkg', ['-x', file, 'root'])))
      throw new StackError(`${file} could not be unpacked`);
  }
  const python = await findPython();
  if (python === undefined) throw new StackError(MISSING_PYTHON);
  const target = ['-m', 'pip', 'install', '--no-deps', '--target', 'driver', DRIVER];
  if (!(await step(python.command, target))) throw new StackError(`${DRIVER} could not be installed`);
}

/**
 * A real MariaDB of its own with one empty database, on 127.0.0.1 only and with a random password, with the character
 * set that Debian gives it.
 * @param options.directory for it alone; made if missing
 * @param options.settings as on its command line, such as `max-allowed-packet=1M`
 * @throws StackError with the end of its log
 */
export async function startMariadb(options: {
  directory: string;
  settings?: readonly string[];
}): Promise<Mariadb> {
  const { directory, settings = [] } = options;
  const installed = await ensureMariadb();
  const root = join(installed, 'root');
  const port = await freePort();
  const password = randomBytes(24).toString('hex');
  const data = join(directory, 'data');
  const logFile = join(directory, 'mariadb.log');
  const initFile = join(directory, 'init.sql');
  await mkdir(data, { recursive: true, mode: 0o700 });
  const owner = `stack@'127.0.0.1'`;
  const statements = [
    'CREATE DATABASE IF NOT EXISTS tracking',
    `CREATE USER IF NOT EXISTS ${owner} IDENTIFIED BY '${password}'`,
    `GRANT ALL ON tracking.* TO ${owner}`,
  ];
  await writeFile(initFile, statements.map((one) => `${one};\n`).join(''), { mode: 0o600 });

  const env = { ...process.env, LD_LIBRARY_PATH: (await libraries(root)).join(':') };
  const asRoot = process.getuid?.() === 0 ? ['--user=root'] : [];
  const common = ['--no-defaults', ...asRoot, `--datadir=${data}`];
  const launch = () =>
    startProcess(
      join(root, 'usr/sbin/mariadbd'),
      [
        ...common,
        `--basedir=${join(root, 'usr')}`,
        '--bind-address=127.0.0.1',
        `--port=${port}`,
        `--socket=${join(directory, 'socket')}`,
        `--init-file=${initFile}`,
        '--character-set-server=utf8mb4',
        '--collation-server=utf8mb4_general_ci',
        ...settings.map((setting) => `--${setting}`),
      ],
      { cwd: directory, env, logFile },
    );
  const install = [...common, `--basedir=${join(root, 'usr')}`, '--skip-test-db', '--skip-name-resolve'];
  const installer = startProcess(join(root, 'usr/bin/mariadb-install-db'), install, {
    cwd: directory,
    env,
    logFile,
  });
  if ((await installer.exited).code !== 0) throw new StackError(`mariadb-install-db failed; see ${logFile}`);
  const service = createService({
    name: 'MariaDB',
    launch,
    logFile,
    healthUrl: () => greets(port),
    readyDeadlineMs: 60_000,
    stopDeadlineMs: 20_000,
    signal: undefined,
  });
  await service.start();
  return {
    stop: service.stop,
    failed: service.failed,
    url: `mysql+pymysql://stack:${password}@127.0.0.1:${port}/tracking`,
    pythonPath: join(installed, 'driver'),
  };
}

/** Folders of shared libraries: one for the kind of machine, in each of two places. */
async function libraries(root: string): Promise<string[]> {
  const folders = [join(root, 'usr/lib'), join(root, 'lib')];
  const kinds = await Promise.all(folders.map((folder) => readdir(folder).catch(() => [])));
  return folders.flatMap((folder, index) =>
    kinds[index]!.filter((name) => name.endsWith('-linux-gnu')).map((name) => join(folder, name)),
  );
}

/** The server speaks first, once its init file was run. */
async function greets(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'data', { signal: AbortSignal.timeout(5_000) });
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
