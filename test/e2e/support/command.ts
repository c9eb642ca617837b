import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, '../../../dist/main.js');

export type Ended = { code: number | null; stdout: string; stderr: string };

export type RunningCommand = {
  /** Resolves when standard error has this; rejects when the command ends without it. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  readonly ended: Promise<Ended>;
};

/** The built command; killed after a minute. */
export function startCommand(env: Record<string, string>, ...args: readonly string[]): RunningCommand {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const closed = once(child, 'close') as Promise<[number | null]>;
  return {
    async says(pattern) {
      for (;;) {
        const found = pattern.exec(stderr);
        if (found !== null) return found;
        const more = once(child.stderr, 'data').then(() => true);
        if (!(await Promise.race([more, closed.then(() => false)])))
          throw new Error(`ended without ${pattern}: ${stderr}`);
      }
    },
    ended: closed.then(([code]) => ({ code, stdout, stderr })),
  };
}

/** Runs the built command to its end. */
export function runCommand(...args: readonly string[]): Promise<Ended> {
  return startCommand({}, ...args).ended;
}
