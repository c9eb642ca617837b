import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

const MAIN = join(import.meta.dirname, '../../../dist/main.js');

export type Ended = { code: number | null; stdout: string; stderr: string };

/** Runs the built command to its end; kills it after a minute. */
export function runCommand(...args: readonly string[]): Promise<Ended> {
  return runCommandWith({}, ...args);
}

/** With more variables, and something on its standard input. */
export async function runCommandWith(
  { env = {}, input = '' }: { env?: Record<string, string>; input?: string },
  ...args: readonly string[]
): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  child.stdin.on('error', () => {}); // it may not want all of it
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}
