import { spawn } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { folder } from '../config/folder.ts';
import { skipWithout } from '../e2e/support/skip.ts';
import { waitFor } from '../stack/processes.ts';
import { MAIN } from './child.ts';

/** A limit for what hangs. */
const SHOWN_WITHIN_MS = 30_000;
const NEW_LINE = '\n';
/** Ctrl-U. */
const CLEAR = '\u0015';

/** A folder with the command, and one file besides, as somebody has them who installed the package. */
function place(): { cwd: string; env: NodeJS.ProcessEnv } {
  const cwd = folder({ 'relay.yaml': '' });
  const bin = folder({ 'mlflow-trace-relay': `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n` });
  chmodSync(join(bin, 'mlflow-trace-relay'), 0o755);
  return {
    cwd,
    env: { ...process.env, PATH: `${bin}:${process.env['PATH']}`, HOME: cwd, TERM: 'dumb' },
  };
}

/** A shell at a terminal. */
function terminal(command: string) {
  const child = spawn('script', ['-qfec', command, '/dev/null'], {
    ...place(),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let shown = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (shown += text));
  return {
    type: (keys: string) => void child.stdin.write(keys),
    /** Resolves when this is shown, and forgets what was shown before. */
    async shows(text: string): Promise<void> {
      const isThere = () => Promise.resolve(shown.includes(text) || undefined);
      await waitFor(JSON.stringify(text), SHOWN_WITHIN_MS, isThere).catch((error: unknown) => {
        throw new Error(`the terminal shows ${JSON.stringify(shown)}`, { cause: error });
      });
      shown = shown.slice(shown.indexOf(text) + text.length);
    },
  };
}

describe.each([
  { shell: 'bash', start: 'bash --norc --noprofile -i', setUp: '' },
  { shell: 'zsh', start: 'zsh -f -i', setUp: 'autoload -U compinit && compinit -u -D && ' },
] as const)('$shell', ({ shell, start, setUp }) => {
  const needed = shell === 'zsh' ? (['script', 'zsh'] as const) : (['script'] as const);
  test.skipIf(skipWithout(...needed))(
    'completes commands, options, values and files, and runs nothing',
    async () => {
      const { type, shows } = terminal(start);
      // Typed in two, so that what is typed is not what is awaited.
      type(`${setUp}source <(mlflow-trace-relay completion ${shell}); echo rea''dy${NEW_LINE}`);
      await shows('ready');
      for (const [typed, completed] of [
        ['dead-l\t', 'dead-letters '],
        ['token insp\t', 'inspect '],
        ['token --form\t', '--format '],
        ['token --format hea\t', 'header '],
        ['token --format=hea\t', '--format=header '],
        ['run --config rel\t', 'relay.yaml '],
        ['token --username "$(echo ran > ran)" --form\t', '--format '],
      ] as const) {
        type(`mlflow-trace-relay ${typed}`);
        await shows(completed);
        type(CLEAR);
      }
      // What it has not made is not there.
      type(`echo *${NEW_LINE}`);
      await expect(shows('\nrelay.yaml\r\n')).resolves.toBeUndefined();
    },
  );
});

test.skipIf(skipWithout('fish'))('fish completes the same', async () => {
  const expected = [
    ['dead-l', 'dead-letters'],
    ['token insp', 'inspect'],
    ['token --form', '--format'],
    ['token --format ', 'env header json token'],
    ['token --format=hea', '--format=header'],
    ['run --config rel', 'relay.yaml'],
    ['token --username "(echo ran > ran)" --form', '--format'],
  ] as const;
  const { cwd, env } = place();
  const asking = expected.map(
    ([typed]) => `complete -C 'mlflow-trace-relay ${typed}' | cut -f 1 | string join ' '`,
  );
  const lines = ['mlflow-trace-relay completion fish | source', ...asking, 'echo *'];
  const fish = spawn('fish', ['--no-config', '-c', lines.join('\n')], {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const answers = (await fish.stdout.setEncoding('utf8').toArray()).join('').trimEnd().split('\n');
  expect(answers).toEqual([...expected.map(([, words]) => words), 'relay.yaml']);
});
