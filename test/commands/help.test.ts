import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { program } from '../../src/cli.ts';
import { folder } from '../config/folder.ts';
import { relay } from './child.ts';

const CONFIG = `receiver: {plaintext: true}
queue: {directory: data}
destinations:
  mlflow:
    kind: mlflow
    url: https://mlflow.example.com
    experiment: {name: traces}
    auth: {kind: client_credentials, issuer: https://idp.example.com, client_id: relay, client_secret: hunter2}
`;

type Leaf = { readonly name: string; readonly command: Command };

/** Every command that does something, by what is typed for it. */
function leaves(command: Command, before: readonly string[] = []): Leaf[] {
  const parts = command.commands.flatMap((each) => leaves(each, [...before, each.name()]));
  const isGroup = parts.length > 0 && command.options.every(({ long }) => long === '--version');
  return isGroup || before[0] === 'complete' ? parts : [{ name: before.join(' '), command }, ...parts];
}

const LEAVES = leaves(program());

/** As a terminal shows it. */
function helpOf(command: Command): string {
  let shown = '';
  command.configureOutput({ writeOut: (text) => void (shown += text) }).outputHelp();
  return shown;
}

/** Lines under "Examples:", with those that a backslash continues. */
function examplesIn(help: string): string[] {
  const [, examples = ''] = /\nExamples:\n((?: {2}.+\n?)+)/.exec(help) ?? [];
  return examples
    .replaceAll(/\\\n\s+/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '');
}

/** The words of the relay's own command in a line of a shell. */
function wordsOf(line: string): string[] {
  const own = /(?:^|\s|\(|")mlflow-trace-relay ([^|>)#]*)/.exec(line)?.[1];
  if (own === undefined) throw new Error(`no command of the relay in: ${line}`);
  return [...own.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
}

/** Runs nothing: says which command it would be. */
async function parsed(words: readonly string[]): Promise<string> {
  const root = program().configureOutput({ writeErr: () => {} });
  let called = '';
  for (const { name, command } of leaves(root)) {
    command.copyInheritedSettings(root).allowExcessArguments(command.commands.length > 0);
    command.action(() => void (called = name));
  }
  await root.parseAsync(words, { from: 'user' });
  return called;
}

describe('--help', () => {
  test('there are commands', () => {
    expect(LEAVES.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['run', 'config check', 'token', 'token inspect']),
    );
  });

  test.each(LEAVES)(
    'of "$name" has examples, which are of that command and have flags that it knows',
    async ({ name, command }) => {
      const examples = examplesIn(helpOf(command));
      expect(examples.length).toBeGreaterThan(0);
      for (const line of examples.filter((each) => !each.trim().startsWith('#')))
        await expect(parsed(wordsOf(line))).resolves.toBe(name);
    },
  );

  test.each(
    LEAVES.filter(({ name }) => /^dead-letters (list|replay|discard)$/.test(name)).flatMap(({ command }) =>
      examplesIn(helpOf(command)),
    ),
  )('has an example that runs: %s', async (line) => {
    const cwd = folder({ 'relay.yaml': CONFIG, 'data/.keep': '' });
    expect(await relay(wordsOf(line), { cwd })).toMatchObject({ code: 0, stderr: '' });
  });

  test('of the program has examples of its commands', async () => {
    const known = LEAVES.map(({ name }) => name);
    const examples = examplesIn(helpOf(program()));
    expect(examples.length).toBeGreaterThan(2);
    for (const line of examples) {
      const words = wordsOf(line).filter((word) => word !== '--help');
      expect(known).toContain(await parsed(words));
    }
  });

  test.each(LEAVES)('has a short line for "$name"', ({ command }) => {
    expect((command.summary() || command.description()).length).toBeLessThan(90);
  });

  test('writes no colours', async () => {
    const { stdout } = await relay(['token', '--help'], { env: { FORCE_COLOR: '1' } });
    expect(stdout).not.toContain('\u001B');
  });
});
