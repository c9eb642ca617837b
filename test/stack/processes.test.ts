import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freePort, isPortFree, startProcess, waitFor } from './processes.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'processes-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function shell(script: string) {
  return startProcess('sh', ['-c', script], {
    cwd: directory,
    env: process.env,
    logFile: join(directory, 'log'),
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('stopping ends children too, and those that do not want to', async () => {
  const started = shell(`trap '' TERM; sleep 1000 & echo child $!; wait; wait`);
  const child = await waitFor('no child', 10_000, async () => {
    const id = /child (\d+)/.exec(started.tail(1))?.[1];
    return id === undefined ? undefined : Number(id);
  });
  expect(await started.stop('SIGTERM', 300)).toEqual({ code: null, signal: 'SIGKILL' });
  await waitFor('the child was still there', 10_000, async () => (isAlive(child) ? undefined : true));
  expect(started.hasExited()).toBe(true);
});

test('the end and the last words of a program that ends by itself', async () => {
  const started = shell('echo one; echo two >&2; exit 3');
  expect(await started.exited).toEqual({ code: 3, signal: null });
  expect(started.tail(1)).toBe('two');
});

test('ports that are free, and that are not', async () => {
  const port = await freePort();
  expect(await isPortFree(port)).toBe(true);
  const server = createServer();
  await once(server.listen(port, '127.0.0.1'), 'listening');
  expect(await isPortFree(port)).toBe(false);
  server.close();
  expect(await freePort()).not.toBe(port);
});
