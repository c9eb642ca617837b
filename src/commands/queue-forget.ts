import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { RelayError } from '../errors.ts';
import { forgetDestination } from '../queue/forget.ts';
import { withConfigFile } from './config-option.ts';

/** Gives up what waits for a destination that was renamed or removed. */
export function queueForgetCommand(): Command {
  const command = new Command('forget')
    .summary('give up what waits for a destination that was taken out')
    .description(
      'give up, for good, the spans that wait for a destination which is not in the configuration any more; beside a running relay, or without one. Its dead letters stay',
    )
    .argument('<name>', 'name of the destination, as it was')
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay queue forget old-mlflow --config relay.yaml`,
    );
  return withConfigFile(command, async (file) => {
    const [name = ''] = command.args;
    const config = loadConfig(file, process.env);
    if (Object.hasOwn(config.destinations, name)) {
      throw new RelayError(
        'DESTINATION_IN_USE',
        `${file}: ${name} is one of the destinations; what waits for it is delivered. Take it out, start the relay again, and then forget it`,
      );
    }
    const who = await forgetDestination(config.queue.directory, name);
    process.stdout.write(
      who === 'running relay'
        ? `${name} is forgotten; the running relay frees what only it had waiting\n`
        : `${name} is forgotten; what only it had waiting is freed when the relay starts\n`,
    );
  });
}
