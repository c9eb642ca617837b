import { Command } from 'commander';
import { completionWords } from './completion-words.ts';
import { print } from './print.ts';

/** What the scripts of `completion` ask, a line for each word: the word, a tab, and what it means. */
export function completeCommand(program: Command): Command {
  return new Command('complete').argument('[words...]').action((words: readonly string[]) => {
    const lines = completionWords(program, words).map(({ word, description }) => `${word}\t${description}\n`);
    return lines.length === 0 ? undefined : print(lines.join(''));
  });
}
