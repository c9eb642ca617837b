import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

const MAIN = join(import.meta.dirname, '../../../dist/main.js');

export type Ended = { code: number | null; stdout: string; stderr: string };

/** Runs the built command to its end; kills it after a minute. */
export function runCommand(...args: readonly string[]): Promise<Ended> {
  return runCommandWith({ env: {} }, ...args);
}

/** With more variables. */
export async function runCommandWith(
  { env }: { env: Record<string, string> },
  ...args: readonly string[]
): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}
