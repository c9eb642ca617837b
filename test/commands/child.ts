import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { onTestFinished, vi } from 'vitest';

// A process takes its time where many are started at once.
vi.setConfig({ testTimeout: 60_000 });

export const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export type ChildOptions = { cwd?: string; env?: NodeJS.ProcessEnv; input?: string };

/** A Node process with this script; ended after the test if it has not by then. */
export function start(script: string, args: readonly string[] = [], options: ChildOptions = {}) {
  const child = spawn(process.execPath, [script, ...args], {
    cwd: options.cwd,
    env: { ...process.env, NODE_NO_WARNINGS: '1', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.stdin.on('error', () => {}); // it may not want all of it
  child.stdin.end(options.input ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;

  return {
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    /** Resolves when this text stands on standard output; rejects when the process ends without it. */
    async says(text: string): Promise<void> {
      while (!stdout.includes(text)) {
        const ended = await Promise.race([
          once(child.stdout, 'data').then(() => false),
          closed.then(() => true),
        ]);
        if (ended && !stdout.includes(text)) throw new Error(`ended without ${text}: ${stdout}${stderr}`);
      }
    },
    async ended(): Promise<{
      code: number | null;
      signal: NodeJS.Signals | null;
      stdout: string;
      stderr: string;
    }> {
      const [code, signal] = await closed;
      return { code, signal, stdout, stderr };
    },
  };
}

/** Runs the command line to its end. */
export function relay(args: readonly string[], options?: ChildOptions) {
  return start(MAIN, args, options).ended();
}
