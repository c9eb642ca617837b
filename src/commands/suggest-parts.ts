import type { Command } from 'commander';
import { closest } from '../config/closest.ts';

/** Where a command that does something itself has commands as well, a word that is none of them is a slip. */
export function suggestParts(command: Command): void {
  command.allowExcessArguments().hook('preAction', (_, called) => {
    const [word] = called.args;
    if (called !== command || word === undefined) return;
    const meant = closest(
      word,
      command.commands.map((each) => each.name()),
    );
    const hint = meant === undefined ? '' : `\n(Did you mean ${meant}?)`;
    command.error(`error: unknown command '${word}'${hint}`);
  });
}
