import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { coloured } from './commands/colours.ts';
import { completeCommand } from './commands/complete.ts';
import { completionCommand } from './commands/completion.ts';
import { configCommand } from './commands/config.ts';
import { deadLettersCommand } from './commands/dead-letters.ts';
import { doctorCommand } from './commands/doctor.ts';
import { injectCommand } from './commands/inject.ts';
import { proxyCommand } from './commands/proxy.ts';
import { queueCommand } from './commands/queue.ts';
import { runCommand } from './commands/run.ts';
import { suggestParts } from './commands/suggest-parts.ts';
import { tokenCommand } from './commands/token.ts';
import { RelayError } from './errors.ts';
import type { ErrorCode } from './errors.ts';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

/** What a person has to correct before another start can do better. */
const CONFIGURATION_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'CONFIG_INVALID',
  'CONFIG_UNREADABLE',
  'CERTIFICATE_INVALID',
  'DESTINATION_IN_USE',
  'DESTINATION_UNKNOWN',
  'DEAD_LETTER_UNKNOWN',
  'USAGE',
]);

/** Runs the command line; sets the exit code of the process and never rejects. */
export async function cli(argv: readonly string[]): Promise<void> {
  try {
    await program().parseAsync(argv);
  } catch (error) {
    process.exitCode = exitCodeOf(error);
    // Commander has printed its own errors by now.
    if (!(error instanceof CommanderError))
      process.stderr.write(errorInColour(`error: ${describe(error)}\n`));
  }
}

/** All commands. */
export function program(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const root = new Command('mlflow-trace-relay')
    .description(
      'OpenTelemetry trace relay for MLflow: OTLP/HTTP in over mTLS, kept on disk, forwarded to MLflow.',
    )
    .version(version)
    // Inherited by commands that are made with it; those made elsewhere copy it in `addCommand` below.
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(errorInColour(text)) })
    // Commands have flags that their own commands have as well.
    .enablePositionalOptions()
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay config check --config relay.yaml
  mlflow-trace-relay run --config relay.yaml
  mlflow-trace-relay doctor --config relay.yaml
  mlflow-trace-relay token --help

Exit codes:
  0  done, or stopped by SIGTERM or SIGINT
  1  failed while running; a second signal while stopping; Node too old
  2  wrong usage or configuration`,
    );
  for (const command of [
    runCommand(),
    configCommand(),
    doctorCommand(),
    queueCommand(),
    deadLettersCommand(),
    tokenCommand(),
    proxyCommand(),
    injectCommand(),
    completionCommand(),
  ]) {
    root.addCommand(command);
    for (const each of [command, ...command.commands]) each.copyInheritedSettings(root);
    if (command.commands.length > 0) suggestParts(command);
  }
  root.addCommand(completeCommand(root), { hidden: true });
  return root;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  return error instanceof RelayError && CONFIGURATION_ERRORS.has(error.code) ? EXIT_USAGE : EXIT_FAILURE;
}

function errorInColour(text: string): string {
  const word = 'error:';
  return text.startsWith(word) ? coloured(word, 'failed', process.stderr) + text.slice(word.length) : text;
}

/** A stack only for what nobody expected. */
function describe(error: unknown): string {
  if (error instanceof RelayError) return `${error.message}\ncode: ${error.code}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
