import { Argument, Command } from 'commander';
import { print } from './print.ts';

/*
 * What a shell runs at each Tab: it asks `complete` (completion-words.ts), passes every word as a word of its own, so
 * that nothing of what is typed is run, and completes names of files where there is no answer.
 */
const SCRIPTS = {
  bash: `_mlflow_trace_relay() {
  local IFS=$'\\n'
  COMPREPLY=($(mlflow-trace-relay complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1))
}
complete -o bashdefault -o default -F _mlflow_trace_relay mlflow-trace-relay
`,
  zsh: `#compdef mlflow-trace-relay
_mlflow_trace_relay() {
  local -a lines words_there shown
  lines=("\${(@f)$(mlflow-trace-relay complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  lines=("\${(@)lines:#}")
  (( $#lines )) || { _files; return }
  words_there=("\${(@)lines%%$'\\t'*}")
  shown=("\${(@)lines/$'\\t'/  -- }")
  compadd -l -d shown -a words_there
}
if [[ $funcstack[1] == _mlflow-trace-relay ]]; then _mlflow_trace_relay; else compdef _mlflow_trace_relay mlflow-trace-relay; fi
`,
  fish: `function __mlflow_trace_relay
  set -l lines (mlflow-trace-relay complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
  set -q lines[1]; and printf '%s\\n' $lines; or __fish_complete_path (commandline -ct)
end
complete -c mlflow-trace-relay -e
complete -c mlflow-trace-relay -f -a '(__mlflow_trace_relay)'
`,
} as const;

type Shell = keyof typeof SCRIPTS;

/** Teaches a shell the commands and options. */
export function completionCommand(): Command {
  const command = new Command('completion')
    .summary('let the shell complete commands and options')
    .description('print what lets a shell complete commands, options and their values')
    .addArgument(new Argument('<shell>', 'that it is for').choices(Object.keys(SCRIPTS)))
    .addHelpText(
      'after',
      `
Examples:
  source <(mlflow-trace-relay completion bash)    # in ~/.bashrc; for zsh in ~/.zshrc, after compinit
  mlflow-trace-relay completion fish | source     # in ~/.config/fish/config.fish`,
    );
  return command.action((shell: Shell) => print(SCRIPTS[shell]));
}
