import { describe, expect, test } from 'vitest';
import { skipWithout } from '../e2e/support/skip.ts';
import { MAIN, relay, start } from './child.ts';

const RED = '\u001B[31m';
const ESCAPE = '\u001B';

/** What a command shows at a terminal. */
async function atTerminal(args: string, env: NodeJS.ProcessEnv): Promise<string> {
  const script = `require('node:child_process').spawnSync('script', ['-qfec', process.argv[1], '/dev/null'], { stdio: 'inherit' })`;
  const command = `"${process.execPath}" "${MAIN}" ${args}`;
  const { stdout } = await start('-e', [script, command], {
    env: { TERM: 'xterm-256color', NO_COLOR: undefined, FORCE_COLOR: undefined, CI: undefined, ...env },
  }).ended();
  return stdout;
}

describe.skipIf(skipWithout('script'))('colours', () => {
  test('are there at a terminal', async () => {
    expect(await atTerminal('rnu', {})).toContain(`${RED}error:`);
    const shown = await atTerminal('doctor --config none.yaml', {});
    expect(shown).toContain(`${RED}failed`);
  });

  test('are not there with NO_COLOR', async () => {
    const shown = await atTerminal('doctor --config none.yaml', { NO_COLOR: '1' });
    expect(shown).toContain('failed');
    expect(shown).not.toContain(`${ESCAPE}[`);
  });

  test('are not there in a file or a pipe', async () => {
    const { stdout, stderr } = await relay(['doctor', '--config', 'none.yaml'], {
      env: { TERM: 'xterm-256color', FORCE_COLOR: undefined },
    });
    expect(stdout).toContain('failed');
    expect(stdout + stderr).not.toContain(ESCAPE);
  });
});
