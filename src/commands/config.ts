import { Command } from 'commander';
import { configCheckCommand } from './config-check.ts';
import { configPrintCommand } from './config-print.ts';
import { configSchemaCommand } from './config-schema.ts';

/** The commands that look at a configuration and start nothing. */
export function configCommand(): Command {
  return new Command('config')
    .description('look at a configuration without starting anything')
    .addCommand(configCheckCommand())
    .addCommand(configPrintCommand())
    .addCommand(configSchemaCommand());
}
