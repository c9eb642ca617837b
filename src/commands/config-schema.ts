import { Command } from 'commander';
import { configJsonSchema } from '../config/json-schema.ts';

/** What config/relay.schema.json is made with. */
export function configSchemaCommand(): Command {
  return new Command('schema')
    .description('print the JSON schema of the configuration, for editors')
    .action(() => {
      process.stdout.write(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
    });
}
