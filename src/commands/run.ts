import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';
import { collectEarly } from './collect-early.ts';
import { withConfigFile } from './config-option.ts';
import { untilStopped } from './until-stopped.ts';

/** Starts the relay and stays until a signal stops it. */
export function runCommand(): Command {
  const command = new Command('run')
    .summary('take traces and forward them')
    .description('take traces and forward them, until SIGTERM or SIGINT; a second signal exits at once')
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay run --config relay.yaml`,
    );
  return withConfigFile(command, async (file) => {
    const config = loadConfig(file, process.env);
    const log = createLogger(config.log.level);
    const start = async () => {
      collectEarly();
      // Only this command pays for loading the relay.
      const { startRelay } = await import('../relay.ts');
      return startRelay(config, log);
    };
    await untilStopped(start, config.shutdown_timeout, log);
  });
}
