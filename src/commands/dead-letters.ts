import { Command } from 'commander';
import { deadLettersDiscardCommand, deadLettersReplayCommand } from './dead-letters-change.ts';
import { deadLettersListCommand } from './dead-letters-list.ts';
import { deadLettersShowCommand } from './dead-letters-show.ts';

/** The commands for spans that an upstream has refused for good. */
export function deadLettersCommand(): Command {
  return new Command('dead-letters')
    .summary('look at refused spans, send them again, or remove them')
    .description('look at the spans that an upstream has refused for good, send them again, or remove them')
    .addCommand(deadLettersListCommand())
    .addCommand(deadLettersShowCommand())
    .addCommand(deadLettersReplayCommand())
    .addCommand(deadLettersDiscardCommand());
}
