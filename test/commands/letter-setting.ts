import { join } from 'node:path';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import type { DeadLetter } from '../../src/queue/queue.ts';
import { folder } from '../config/folder.ts';
import { open } from '../queue/support.ts';
import { relay } from './child.ts';

/** Of the queue in the configuration. */
export const MAX_SIZE = 256 * 1024 * 1024;

const configOf = (upstream: string) => `
receiver: { listen: '127.0.0.1:0', plaintext: true }
queue: { directory: queue, max_size: 256MiB }
destinations:
  mlflow: { kind: mlflow, url: '${upstream}', experiment: { id: '1' }, auth: { kind: none } }
admin: { listen: '127.0.0.1:0' }
`;

/** A folder with a configuration, and a queue with these letters, which nobody has open; an append for each list. */
export async function letterSetting(
  appends: readonly (readonly DeadLetter[])[],
  upstream = 'http://127.0.0.1:9',
) {
  const cwd = folder({ 'relay.yaml': configOf(upstream) });
  const directory = join(cwd, 'queue');
  const openHere = (fs?: FileSystem) => open(directory, { maxBytes: MAX_SIZE, ...(fs && { fs }) });
  if (appends.length > 0) {
    const { queue, close } = await openHere();
    for (const letters of appends) await queue.deadLetters.append(letters);
    await close();
  }
  return {
    cwd,
    directory,
    config: join(cwd, 'relay.yaml'),
    /** The queue as a running relay has it, in this process. */
    open: openHere,
    /** Runs `dead-letters` with these arguments to its end. */
    run: (command: string, ...args: readonly string[]) =>
      relay(['dead-letters', command, '--config', 'relay.yaml', ...args], { cwd }),
  };
}
