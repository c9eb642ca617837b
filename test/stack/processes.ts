import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** A counterpart that cannot be had on this machine, or a setting that a person must change: one clear line. */
export class StackError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StackError';
  }
}

export type Exit = { code: number | null; signal: NodeJS.Signals | null };

export type StartedProcess = {
  readonly pid: number;
  /** Resolves when the process has ended. */
  readonly exited: Promise<Exit>;
  hasExited(): boolean;
  /** The last lines of its output. */
  tail(lines: number): string;
  /** Sends the signal to the process and its children; after the deadline SIGKILL to those that are left. */
  stop(signal: NodeJS.Signals, deadlineMs: number): Promise<Exit>;
};

/**
 * Starts a program in a process group of its own, its output appended to a file, so that a Ctrl-C of the
 * terminal reaches this process alone and the stack is taken down in order. Should this process die without
 * having done so, however it dies, the whole group is killed.
 */
export function startProcess(
  command: string,
  args: readonly string[],
  options: { cwd: string; env: NodeJS.ProcessEnv; logFile: string },
): StartedProcess {
  mkdirSync(dirname(options.logFile), { recursive: true });
  const log = openSync(options.logFile, 'a', 0o600);
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env,
    stdio: ['ignore', log, log],
    detached: true,
  });
  closeSync(log);
  const pid = child.pid;
  let ended = false;
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once('error', (error) => reject(new StackError(`cannot start ${command}: ${error.message}`)));
    child.once('exit', (code, signal) => {
      ended = true;
      resolve({ code, signal });
    });
  });
  exited.catch(() => {});
  if (pid === undefined) throw new StackError(`cannot start ${command}`);
  const guard = guardGroup(pid);

  async function stop(signal: NodeJS.Signals, deadlineMs: number): Promise<Exit> {
    signalGroup(pid as number, signal);
    const end = Date.now() + deadlineMs;
    while (signalGroup(pid as number, 0) && Date.now() < end) await pause(20);
    signalGroup(pid as number, 'SIGKILL');
    const exit = await exited;
    guard.kill('SIGKILL');
    return exit;
  }

  return {
    pid,
    exited,
    hasExited: () => ended,
    tail: (lines) => readTail(options.logFile, lines),
    stop,
  };
}

/** A shell that waits for the end of a pipe from this process, which comes when this process does, and then kills the group. */
function guardGroup(group: number): ChildProcess {
  const guard = spawn('sh', ['-c', 'read -r _; kill -KILL "-$1" 2>/dev/null', 'sh', String(group)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.on('error', () => {});
  guard.unref();
  (guard.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  return guard;
}

/** @returns false when nobody is left in it */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-group, signal);
    return true;
  } catch {
    return false;
  }
}

function readTail(file: string, lines: number): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}

/**
 * Asks again and again until there is an answer.
 * @param what for the message, as in "MLflow did not answer"
 * @throws StackError after the deadline, with the last reason
 */
export async function waitFor<T>(
  what: string,
  deadlineMs: number,
  attempt: () => Promise<T | undefined>,
  options: { everyMs?: number; signal?: AbortSignal | undefined } = {},
): Promise<T> {
  const end = Date.now() + deadlineMs;
  let reason = '';
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      const answer = await attempt();
      if (answer !== undefined) return answer;
      reason = '';
    } catch (error) {
      if (error instanceof StackError) throw error;
      reason = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (Date.now() > end) throw new StackError(`${what} within ${Math.round(deadlineMs / 1000)} s${reason}`);
    await pause(options.everyMs ?? 100, undefined, { signal: options.signal });
  }
}

/** True when nothing listens on this port of the loopback interface. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** Below those that systems give to whoever asks for any. */
const PORTS_FROM = 20_000;
/** Workers of the tests, of which no project has more at once, have a share each. */
const SHARES = 8;
const PORTS_EACH = 1_500;
let nextPort = randomInt(PORTS_EACH);

/**
 * A port of the loopback interface that nobody listens on, and that nobody else is given while the program starts
 * that is to have it, or is stopped for a while.
 * @throws StackError when all are taken
 */
export async function freePort(): Promise<number> {
  const share = Number(process.env['VITEST_POOL_ID'] ?? 0) % SHARES;
  for (let tries = 0; tries < PORTS_EACH; tries += 1) {
    const port = PORTS_FROM + share * PORTS_EACH + (nextPort++ % PORTS_EACH);
    if (await isPortFree(port)) return port;
  }
  throw new StackError(`no port from ${PORTS_FROM} to ${PORTS_FROM + SHARES * PORTS_EACH} is free`);
}
