import { describe, expect, test } from 'vitest';
import { program } from '../../src/cli.ts';
import { completionWords } from '../../src/commands/completion-words.ts';

const wordsAfter = (...typed: readonly string[]) => completionWords(program(), typed).map(({ word }) => word);

describe('completionWords', () => {
  test.each<[string, readonly string[], readonly string[]]>([
    ['a command', ['dea'], ['dead-letters']],
    ['a part of a command', ['token', ''], ['inspect', 'revoke']],
    ['a part behind an option with a value', ['token', '--config', 'inspect', 'i'], ['inspect']],
    ['an option', ['run', '--con'], ['--config']],
    ['an option of a part', ['token', 'inspect', '--st'], ['--stdin']],
    ['a value, of few', ['token', '--format', 'h'], ['header']],
    ['a value in the word of its option', ['token', '--format=h'], ['--format=header']],
    ['a value behind = as bash splits it', ['token', '--format', '=', 'h'], ['header']],
    ['all values behind = as bash splits it', ['token', '--format', '='], ['token', 'header', 'env', 'json']],
    ['a shell', ['completion', ''], ['bash', 'zsh', 'fish']],
    ['nothing for the value of a file', ['run', '--config', ''], []],
    ['nothing for the value of a short option', ['run', '-c', ''], []],
    ['nothing for what is a name', ['queue', 'forget', ''], []],
    ['nothing for the command of another program', ['proxy', '--', 'run', '--con'], []],
    ['nothing for what there is not', ['nothing-like-it', '--such'], []],
  ])('finds %s', (_, typed, expected) => {
    expect(wordsAfter(...typed)).toEqual(expected);
  });

  test('finds all commands but the one that asks', () => {
    expect(wordsAfter('').toSorted()).toEqual(
      [...program().commands.map((each) => each.name()), 'help']
        .filter((name) => name !== 'complete')
        .toSorted(),
    );
  });

  test('describes each in one line without a tab, as the shells expect it', () => {
    for (const typed of [[''], ['token', '--'], ['inject', '-'], ['dead-letters', '']]) {
      const found = completionWords(program(), typed);
      expect(found.length).toBeGreaterThan(1);
      for (const { word, description } of found) {
        expect(word).toMatch(/^\S+$/);
        expect(description).toMatch(/^[^\t\n]+$/);
      }
    }
  });
});
