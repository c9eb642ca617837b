import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { open, temporaryDirectory } from '../queue/support.ts';
import { recordOf } from './support.ts';

const child = new URL('dying-process.ts', import.meta.url).pathname;

/** A relay from its start until it has died, or delivered all. */
function run(directory: string) {
  const { stdout, signal } = spawnSync(process.execPath, [child, directory], {
    encoding: 'utf8',
    timeout: 60_000,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return { signal, said: stdout === '' ? undefined : (JSON.parse(stdout) as unknown) };
}

test('a record that ends the relay twice is a dead letter at the third start, and all others are delivered', async () => {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory);
  const routes = ['before', 'deadly', 'behind'];
  for (const [trace, route] of routes.entries())
    await queue.append([recordOf([{ trace, isRoot: true }], { route })]);
  await close();

  expect([run(directory), run(directory)]).toEqual([
    { signal: 'SIGKILL', said: undefined },
    { signal: 'SIGKILL', said: undefined },
  ]);
  const { signal, said } = run(directory);
  expect(signal).toBeNull();
  expect(said).toEqual({
    delivered: expect.arrayContaining(['before', 'behind']) as unknown,
    letters: [expect.stringContaining('deadly: not sent: the relay ended twice in a row')],
  });
  const again = await open(directory);
  expect(again.queue.status().destinations['mlflow']?.waitingSpans).toBe(0);
  expect(again.queue.deadLetters.status().spans).toEqual({ mlflow: 1 });
});
