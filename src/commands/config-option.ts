import type { Command } from 'commander';

/**
 * Gives a command its `--config FILE`. Checked here and not by commander, which would say that it is missing
 * before it says that `--confg` is unknown.
 */
export function withConfigFile(command: Command, action: (file: string) => void | Promise<void>): Command {
  return command.option('-c, --config <file>', 'configuration file, YAML (required)').action(() => {
    const { config } = command.opts<{ config?: string }>();
    if (config === undefined) command.error("error: required option '--config <file>' not specified");
    return action(config);
  });
}
