import { Command } from 'commander';
import { expect, test } from 'vitest';
import { filterOf, isMeant, withFilter } from '../../src/commands/letter-filter.ts';
import { letterOf } from '../queue/letters.ts';

const NOW = 1_800_000_000_000;
const MINUTE = 60_000;

const LETTERS = [
  letterOf('', { id: 'a', refusedAt: NOW - 600 * MINUTE, reason: 'Invalid OpenTelemetry FORMAT' }),
  letterOf('', { id: 'b', refusedAt: NOW - 60 * MINUTE, destination: 'phoenix', sender: 'other' }),
  letterOf('', { id: 'c', refusedAt: NOW }),
];

test.each<[string, readonly string[]]>([
  ['', ['a', 'b', 'c']],
  ['--reason opentelemetry\u00a0format', ['a']],
  ['--reason nothing', []],
  ['--sender other', ['b']],
  ['--sender othe', []],
  ['--destination mlflow', ['a', 'c']],
  ['--older-than 30m', ['a', 'b']],
  ['--older-than 1h', ['a']],
  ['--newer-than 5h', ['b', 'c']],
  ['--older-than 30m --newer-than 5h', ['b']],
  ['--id a --id c', ['a', 'c']],
  ['--id a --destination phoenix', []],
])('%s', (args, expected) => {
  const command = withFilter(new Command());
  command.parse(
    args.split(' ').flatMap((arg) => (arg === '' ? [] : [arg.replaceAll('\u00a0', ' ')])),
    { from: 'user' },
  );
  const filter = filterOf(command);
  expect(LETTERS.filter((letter) => isMeant(filter, letter, NOW)).map(({ id }) => id)).toEqual(expected);
});
