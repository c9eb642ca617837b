import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort, isPortFree, waitFor } from '../stack/processes.ts';
import { MISSING_PYTHON } from '../stack/python.ts';

const QUICKSTART = join(import.meta.dirname, '../stack/quickstart.ts');

let directory: string;
let ports: number[];
let options: string[];
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quickstart-'));
  ports = [];
  for (let count = 0; count < 4; count += 1) ports.push(await freePort());
  const names = ['--mlflow-port', '--issuer-port', '--receiver-port', '--admin-port'];
  options = ['--directory', directory, ...names.flatMap((name, index) => [name, String(ports[index])])];
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function start(
  more: string[] = [],
  env: NodeJS.ProcessEnv = {},
): {
  process: ChildProcess;
  output: () => string;
  ended: Promise<number | null>;
} {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', QUICKSTART, ...options, ...more],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } },
  );
  let output = '';
  const collect = (chunk: Buffer) => (output += chunk.toString('utf8'));
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const ended = once(child, 'close').then(([code]: (number | null)[]) => code ?? null);
  return { process: child, output: () => output, ended };
}

/** Every process of the stack listens on one of the ports. */
async function nothingListens(): Promise<boolean> {
  return (await Promise.all(ports.map(isPortFree))).every(Boolean);
}

describe('the quickstart', () => {
  test('--once shows the trace that was read back, ends with 0, and leaves nothing running', async () => {
    const { output, ended } = start(['--once']);
    expect({ code: await ended, output: output() }).toMatchObject({ code: 0 });
    expect(output()).toContain('├─ chat example-model             0.81 s   412 + 23 tokens');
    // No address of what is not there any more.
    expect(output()).not.toContain('http://');
    expect(await nothingListens()).toBe(true);
  });

  test('run again on what it left, it stays until SIGINT, and then ends with 0', async () => {
    const quickstart = start();
    await waitFor('the quickstart did not get ready', 110_000, async () => {
      if (quickstart.process.exitCode !== null) throw new Error(quickstart.output());
      return quickstart.output().includes('until Ctrl-C') || undefined;
    });
    expect(await nothingListens()).toBe(false);
    expect(quickstart.output()).toContain(`http://127.0.0.1:${ports[0]}/#/experiments/`);
    quickstart.process.kill('SIGINT');
    expect(await quickstart.ended).toBe(0);
    expect(await nothingListens()).toBe(true);
  });

  test('ended on the way, it leaves nothing running', async () => {
    const quickstart = start();
    await waitFor('MLflow was not being started', 60_000, async () =>
      /OpenID provider/.test(quickstart.output()) ? true : undefined,
    );
    quickstart.process.kill('SIGTERM');
    expect(await quickstart.ended).toBe(143);
    expect(await nothingListens()).toBe(true);
  });

  test('killed, it leaves nothing running either', async () => {
    const quickstart = start();
    const issuerPort = ports[1] as number;
    await waitFor('the provider did not listen', 60_000, async () =>
      (await isListening(issuerPort)) ? true : undefined,
    );
    await waitFor('MLflow was not being started', 60_000, async () =>
      (await childrenOf(quickstart.process)).length > 0 ? true : undefined,
    );
    const started = await childrenOf(quickstart.process);
    quickstart.process.kill('SIGKILL');
    await quickstart.ended;
    await waitFor('what it had started was still there', 30_000, async () =>
      started.some(isAlive) ? undefined : true,
    );
    expect(await nothingListens()).toBe(true);
  });

  test('a port that is taken is one clear line', async () => {
    const server = createServer();
    await once(server.listen(ports[2], '127.0.0.1'), 'listening');
    const { output, ended } = start(['--once']);
    expect(await ended).toBe(1);
    expect(output()).toBe(
      `\nquickstart: port ${ports[2]}, for the receiver of the relay, is taken; free it, or choose another: npm run quickstart -- --receiver-port ${(ports[2] as number) + 1}\n`,
    );
    server.close();
  });

  test('a Python that is none is one clear line', async () => {
    const { output, ended } = start(['--once'], { PYTHON: '/bin/false' });
    expect(await ended).toBe(1);
    expect(output()).toContain('\nquickstart: PYTHON is /bin/false, which is no Python 3.11 or later\n');
  });

  test('no Python at all is one clear line', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'no-python-'));
    const { output, ended } = start(['--once'], { PYTHON: '', PATH: empty, PYENV_ROOT: empty });
    expect(await ended).toBe(1);
    expect(output()).toMatch(/^ {2}✗ MLflow in a Python environment .*\n\nquickstart: [^\n]+\n$/);
    expect(output()).toContain(`\nquickstart: ${MISSING_PYTHON}\n`);
    await rm(empty, { recursive: true });
  });
});

/** Asks by connecting: to try to bind the port could take it from who is about to. */
function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Ids of the processes that it has started and that are in groups of their own, as the stack's are. */
async function childrenOf({ pid }: ChildProcess): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=']);
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([id]) => id as number);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
