import { Command } from 'commander';
import { configJsonSchema } from '../config/json-schema.ts';

/** What config/relay.schema.json is made with. */
export function configSchemaCommand(): Command {
  return new Command('schema')
    .description('print the JSON schema of the configuration, for editors')
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay config schema > relay.schema.json
  # first line of relay.yaml:  # yaml-language-server: $schema=relay.schema.json`,
    )
    .action(() => {
      process.stdout.write(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
    });
}
