import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

const MAIN = join(import.meta.dirname, '../../../dist/main.js');

export type Ended = { code: number | null; stdout: string; stderr: string };

export type RunningCommand = {
  /** Resolves when standard error has this; rejects when the command ends without it. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  /** As `says`, of standard output. */
  prints(pattern: RegExp): Promise<RegExpExecArray>;
  kill(signal: NodeJS.Signals): void;
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
  async function until(stream: Readable, read: () => string, pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(read());
      if (found !== null) return found;
      const more = once(stream, 'data').then(() => true);
      if (!(await Promise.race([more, closed.then(() => false)])))
        throw new Error(`ended without ${pattern}: ${stdout}${stderr}`);
    }
  }
  return {
    says: (pattern) => until(child.stderr, () => stderr, pattern),
    prints: (pattern) => until(child.stdout, () => stdout, pattern),
    kill: (signal) => void child.kill(signal),
    ended: closed.then(([code]) => ({ code, stdout, stderr })),
  };
}

/** Runs the built command to its end. */
export function runCommand(...args: readonly string[]): Promise<Ended> {
  return startCommand({}, ...args).ended;
}
