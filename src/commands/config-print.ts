import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { printConfig } from '../config/print.ts';
import { withConfigFile } from './config-option.ts';

/** The whole configuration as `run` would use it. */
export function configPrintCommand(): Command {
  const command = new Command('print')
    .description('print the whole configuration: defaults filled in, paths absolute, secrets masked')
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay config print --config relay.yaml`,
    );
  return withConfigFile(command, (file) => {
    process.stdout.write(printConfig(loadConfig(file, process.env)));
  });
}
