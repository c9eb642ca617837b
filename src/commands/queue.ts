import { Command } from 'commander';
import { queueForgetCommand } from './queue-forget.ts';

/** The commands that change what is in the queue. */
export function queueCommand(): Command {
  return new Command('queue').description('change what the queue keeps').addCommand(queueForgetCommand());
}
