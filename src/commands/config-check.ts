import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { pairsAtOneMlflow } from '../destinations/one-mlflow.ts';
import { withConfigFile } from './config-option.ts';

/** Reads a configuration as `run` would, and says whether it can be used. */
export function configCheckCommand(): Command {
  const command = new Command('check')
    .description('check a configuration and the files that it names')
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay config check --config relay.yaml`,
    );
  return withConfigFile(command, (file) => {
    const { destinations } = loadConfig(file, process.env);
    for (const { words, fix } of pairsAtOneMlflow(destinations)) {
      process.stderr.write(`warning: ${words()}\n         fix: ${fix}\n`);
    }
    process.stdout.write(`${file}: the configuration is valid\n`);
  });
}
