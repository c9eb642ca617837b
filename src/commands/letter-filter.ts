import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { parseDuration } from '../config/units.ts';
import type { LetterMeta } from '../queue/stored-letters.ts';

/** Which dead letters a command is about: those for which all of it holds. */
export type LetterFilter = {
  readonly reason?: string;
  readonly sender?: string;
  readonly destination?: string;
  /** Milliseconds since the upstream refused them. */
  readonly olderThan?: number;
  readonly newerThan?: number;
  readonly id?: readonly string[];
};

/** Gives a command the options that choose dead letters. */
export function withFilter(command: Command): Command {
  return command
    .option('--reason <text>', "part of the upstream's words, in upper or lower case")
    .option('--sender <identity>', 'of the client that sent them')
    .option('--destination <name>', 'that refused them')
    .option('--older-than <age>', 'refused longer ago, as in 30m or 36h', toDuration)
    .option('--newer-than <age>', 'refused less long ago', toDuration)
    .option('--id <id>', 'of a letter, as list prints it; may be given several times', collect);
}

export function filterOf(command: Command): LetterFilter {
  const { reason, sender, destination, olderThan, newerThan, id } = command.opts<LetterFilter>();
  return {
    ...(reason !== undefined && { reason }),
    ...(sender !== undefined && { sender }),
    ...(destination !== undefined && { destination }),
    ...(olderThan !== undefined && { olderThan }),
    ...(newerThan !== undefined && { newerThan }),
    ...(id !== undefined && { id }),
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
    (filter.olderThan === undefined || age > filter.olderThan) &&
    (filter.newerThan === undefined || age < filter.newerThan)
  );
}

function toDuration(text: string): number {
  const duration = parseDuration(text);
  if (duration === undefined)
    throw new InvalidArgumentError('Write it as in 90s, 30m or 36h (units are ms, s, m and h).');
  return duration;
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}
