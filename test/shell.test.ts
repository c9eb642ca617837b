import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { startShell } from './e2e/support/shell.ts';
import { waitFor } from './stack/processes.ts';

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('a shell keeps its variables, tells how commands end, and is stopped', async () => {
  const shell = startShell(tmpdir(), process.env);
  expect(await shell.run('A=1')).toEqual({ printed: '', code: 0 });
  expect(await shell.run('echo $A; echo err >&2; false')).toEqual({ printed: '1\nerr\n', code: 1 });
  await shell.stop();
});

test('one that has ended by itself can be stopped too', async () => {
  const shell = startShell(tmpdir(), process.env);
  const pid = Number((await shell.run('echo $$')).printed);
  await expect(shell.run('echo out; exit 3')).rejects.toThrow('the shell has ended, with: out\n');
  await waitFor('the shell is still there', 10_000, async () => !isThere(pid) || undefined);
  await shell.stop();
});
