import { expect } from 'vitest';
import type { Use } from './use.ts';

/** Ends well, and says this and nothing else. */
async function says(use: Use, args: readonly string[], stdout: string | RegExp): Promise<void> {
  const ended = await use.command([...args, '--config', use.config]);
  expect(ended).toEqual({ code: 0, stdout: expect.stringMatching(stdout) as string, stderr: '' });
}

/** Ends with this code and these words. */
async function fails(use: Use, args: readonly string[], code: number, words: RegExp): Promise<void> {
  const ended = await use.command([...args, '--config', use.config]);
  expect(ended).toMatchObject({ code, stderr: expect.stringMatching(words) as string });
}

/** Sends a request through the door, which finds no MLflow behind it. */
const THROUGH_THE_DOOR = `
  const { MLFLOW_TRACKING_URI: url, MLFLOW_TRACKING_USERNAME: user, MLFLOW_TRACKING_PASSWORD: password } = process.env;
  const authorization = 'Basic ' + btoa(user + ':' + password);
  const answer = await fetch(url + '/version', { headers: { authorization } });
  console.log(answer.status, await answer.text());`;

/** What each command does beyond its help. */
export const COMMANDS: Readonly<Record<string, (use: Use) => Promise<void>>> = {
  async run(use) {
    expect(await use.startAndStop()).toEqual({ code: 0, signal: null });
  },
  async 'config schema'(use) {
    const { code, stdout } = await use.command(['config', 'schema']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ $schema: expect.any(String) as string, type: 'object' });
  },
  'config print': (use) => says(use, ['config', 'print'], /^ +max_size: 4GiB$/m),
  'config check': (use) => says(use, ['config', 'check'], /: the configuration is valid\n$/),
  async doctor(use) {
    const { code, stdout } = await use.command(['doctor', '--config', use.config]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^failed +mlflow: MLflow connection: nothing listens at [^\n]+\n +fix: /m);
    expect(stdout).toMatch(
      /^1 failed, \d+ warnings?, \d+ ok, \d+ skipped\nfailed: mlflow: MLflow connection\n/m,
    );
  },
  'queue forget': (use) => fails(use, ['queue', 'forget', 'nobody'], 2, /\ncode: DESTINATION_UNKNOWN\n$/),
  'dead-letters list': (use) => says(use, ['dead-letters', 'list'], /^no dead letters\n$/),
  'dead-letters show': (use) =>
    fails(use, ['dead-letters', 'show', '1'], 2, /\ncode: DEAD_LETTER_UNKNOWN\n$/),
  'dead-letters replay': (use) => says(use, ['dead-letters', 'replay', '--all'], /nothing was done\n$/),
  'dead-letters discard': (use) => says(use, ['dead-letters', 'discard', '--all'], /nothing was done\n$/),
  token: (use) =>
    says(use, ['token', '--format', 'header'], /^Authorization: Bearer [\w-]+\.[\w-]+\.[\w-]+\n$/),
  'token inspect': (use) => says(use, ['token', 'inspect'], /^groups +mlflow$/m),
  async 'token revoke'(use) {
    const env = { XDG_CACHE_HOME: await use.newFolder() };
    expect(await use.command(['token', '--config', use.config], env)).toMatchObject({ code: 0 });
    const { code, stderr } = await use.command(['token', 'revoke', '--config', use.config], env);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('names no revocation_endpoint') as string,
    });
  },
  async proxy(use) {
    const client = ['node', '--input-type=module', '--eval', THROUGH_THE_DOOR];
    const { code, stdout, stderr } = await use.command(['proxy', '--config', use.config, '--', ...client]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^502 .*did not answer: /);
  },
  async completion(use) {
    const { code, stdout } = await use.command(['completion', 'bash']);
    expect(code).toBe(0);
    expect(stdout).toContain('complete -o');
    expect(await use.command(['complete', '--', 'dead'])).toMatchObject({
      stdout: expect.stringMatching(/^dead-letters\t/) as string,
    });
  },
  inject: (use) =>
    says(use, ['inject', '--endpoint', use.relayUrl], /^[0-9a-f]{32} {2}taken by the relay {2}5 spans/),
};

/** What `--help` lists, groups left out; each word of help is asked for on the way. */
export async function commandsByHelp(use: Use, path: readonly string[] = []): Promise<string[]> {
  const { code, stdout, stderr } = await use.command([...path, '--help']);
  expect({ code, stderr }, `${path.join(' ')} --help`).toEqual({ code: 0, stderr: '' });
  const [usage = ''] = stdout.split('\n', 1);
  expect(usage).toContain(['mlflow-trace-relay', ...path].join(' '));
  const [, list = ''] = /^Commands:\n((?: .*\n)+)/m.exec(stdout) ?? [];
  const names = [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)]
    .map(([, name = '']) => name)
    .filter((name) => name !== 'help');
  const below = await Promise.all(names.map((name) => commandsByHelp(use, [...path, name])));
  const isGroup = names.length > 0 && !stdout.includes('--config <file>');
  return [...(isGroup ? [] : [path.join(' ')]), ...below.flat()];
}
