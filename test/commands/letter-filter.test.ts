import { Command, CommanderError } from 'commander';
import { expect, test } from 'vitest';
import { filterOf, isMeant, withFilter } from '../../src/commands/letter-filter.ts';
import { letterOf } from '../queue/letters.ts';

const NOW = 1_800_000_000_000;
const MINUTE = 60_000;

const LETTERS = [
  letterOf('', { id: 'a', refusedAt: NOW - 600 * MINUTE, reason: 'Invalid OpenTelemetry FORMAT' }),
  letterOf('', { id: 'b', refusedAt: NOW - 60 * MINUTE, destination: 'phoenix', sender: 'other' }),
  letterOf('', { id: 'c', refusedAt: NOW, repaired: 'session.id cut' }),
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
  ['--older-than 1d', []],
  ['--newer-than 1d', ['a', 'b', 'c']],
  ['--repaired', ['c']],
  ['--not-repaired', ['a', 'b']],
  ['--not-repaired --sender other', ['b']],
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

test.each<[string, readonly string[]]>([
  ['--reason <text>', ['--reason', '']],
  ['--sender <identity>', ['--sender=']],
  ['--destination <name>', ['--destination', ' ']],
  ['--id <id>', ['--id', 'a', '--id', '']],
  ['--older-than <age>', ['--older-than', '0s']],
  ['--newer-than <age>', ['--newer-than', '0d']],
  ['--older-than <age>', ['--older-than', '']],
  ['--repaired', ['--repaired', '--not-repaired']],
])('what would hold for all letters, or for none, is refused: %s %j', (option, args) => {
  const command = withFilter(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  const parse = () => command.parse(args, { from: 'user' });
  expect(parse).toThrow(CommanderError);
  expect(parse).toThrow(option);
});
