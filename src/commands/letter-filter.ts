import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { parseDuration } from '../config/units.ts';
import type { LetterMeta } from '../queue/stored-letters.ts';
import { isRepaired } from './letter-words.ts';

/** Which dead letters a command is about: those for which all of it holds. */
export type LetterFilter = {
  readonly reason?: string;
  readonly sender?: string;
  readonly destination?: string;
  /** Milliseconds since the upstream refused them. */
  readonly olderThan?: number;
  readonly newerThan?: number;
  readonly id?: readonly string[];
  /** Whether the spans were delivered all the same, repaired. */
  readonly repaired?: boolean;
};

/** Gives a command the options that choose dead letters. */
export function withFilter(command: Command): Command {
  return command
    .option('--reason <text>', "is contained in the upstream's words, in upper or lower case", toText)
    .option('--sender <identity>', 'of the client that sent them, exactly', toText)
    .option('--destination <name>', 'that refused them', toText)
    .option('--older-than <age>', 'refused longer ago, as in 30m, 36h or 7d', toAge)
    .option('--newer-than <age>', 'refused less long ago', toAge)
    .option('--id <id>', 'of a letter, as list prints it; may be given several times', collect)
    .option('--repaired', 'delivered all the same, without what the upstream had refused')
    .addOption(new Option('--not-repaired', 'not delivered').conflicts('repaired'));
}

export function filterOf(command: Command): LetterFilter {
  const { reason, sender, destination, olderThan, newerThan, id, repaired, notRepaired } = command.opts<
    LetterFilter & { notRepaired?: true }
  >();
  return {
    ...(reason !== undefined && { reason }),
    ...(sender !== undefined && { sender }),
    ...(destination !== undefined && { destination }),
    ...(olderThan !== undefined && { olderThan }),
    ...(newerThan !== undefined && { newerThan }),
    ...(id !== undefined && { id }),
    ...(repaired !== undefined && { repaired }),
    ...(notRepaired !== undefined && { repaired: false }),
  };
}

/** @param now in milliseconds since the epoch, the same for all letters of a command */
export function isMeant(filter: LetterFilter, letter: LetterMeta, now: number): boolean {
  const age = now - letter.refusedAt;
  return (
    (filter.id?.includes(letter.id) ?? true) &&
    (filter.destination === undefined || letter.destination === filter.destination) &&
    (filter.sender === undefined || letter.sender === filter.sender) &&
    (filter.reason === undefined || letter.reason.toLowerCase().includes(filter.reason.toLowerCase())) &&
    (filter.repaired === undefined || filter.repaired === isRepaired(letter)) &&
    (filter.olderThan === undefined || age > filter.olderThan) &&
    (filter.newerThan === undefined || age < filter.newerThan)
  );
}

/** Days as well, which are too long for anything in the configuration. */
function toAge(text: string): number {
  const [, days] = /^([0-9]+)d$/.exec(text) ?? [];
  const age = parseDuration(days === undefined ? text : `${Number(days) * 24}h`);
  if (age === undefined)
    throw new InvalidArgumentError('Write it as in 90s, 30m, 36h or 7d (units are ms, s, m, h and d).');
  if (age === 0) throw new InvalidArgumentError('It must be above 0.');
  return age;
}

/** An empty text would hold for all of them: mostly a variable of the shell that is not set. */
function toText(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('It is empty.');
  return text;
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, toText(text)];
}
