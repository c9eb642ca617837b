import type { Command, Option } from 'commander';

/** What can stand in place of the last word. */
export type CompletionWord = { readonly word: string; readonly description: string };

/**
 * What can stand in place of the last of `words`, which may be empty, in a command line of `program`. None where only
 * its user knows, such as the name of a file.
 * @param words as the shell splits them, without the program; bash makes words of their own of `=`
 */
export function completionWords(program: Command, words: readonly string[]): CompletionWord[] {
  const [typed, before] = splitLast(words);
  const { command, option, isOver } = walk(program, before);
  if (isOver) return [];
  if (option !== undefined) return choices(option.argChoices, '', typed);
  const named = /^(--[^=]+=)(.*)$/s.exec(typed);
  if (named !== null) {
    const [, flag = '', value = ''] = named;
    return choices(findOption(command, flag.slice(0, -1))?.argChoices, flag, value);
  }
  const help = command.createHelp();
  if (typed.startsWith('-')) {
    return beginning(
      typed,
      help
        .visibleOptions(command)
        .map(({ long, short, description }) => ({ word: long ?? short ?? '', description })),
    );
  }
  const [argument] = command.registeredArguments;
  if (argument?.argChoices !== undefined) return choices(argument.argChoices, '', typed);
  return beginning(
    typed,
    help
      .visibleCommands(command)
      .map((each) => ({ word: each.name(), description: help.subcommandDescription(each) })),
  );
}

/** The word that is typed and those before it, without the `=` of bash. */
function splitLast(words: readonly string[]): [string, string[]] {
  const last = words.at(-1) ?? '';
  return [last === '=' ? '' : last, words.slice(0, -1).filter((word) => word !== '=')];
}

type Place = {
  readonly command: Command;
  /** That waits for its value. */
  readonly option: Option | undefined;
  /** What comes belongs to somebody else, as behind `--`. */
  readonly isOver: boolean;
};

function walk(program: Command, words: readonly string[]): Place {
  let command = program;
  let option: Option | undefined;
  for (const word of words) {
    if (option !== undefined) option = undefined;
    else if (word === '--') return { command, option, isOver: true };
    else if (word.startsWith('-')) {
      const found = findOption(command, word);
      option = found?.required === true ? found : undefined;
    } else command = command.commands.find((each) => each.name() === word) ?? command;
  }
  return { command, option, isOver: false };
}

function findOption(command: Command, flag: string): Option | undefined {
  return command.options.find(({ long, short }) => long === flag || short === flag);
}

function choices(values: readonly string[] | undefined, prefix: string, typed: string): CompletionWord[] {
  return beginning(
    prefix + typed,
    (values ?? []).map((value) => ({ word: prefix + value, description: '' })),
  );
}

function beginning(typed: string, words: readonly CompletionWord[]): CompletionWord[] {
  return words.filter(({ word }) => word.startsWith(typed));
}
