import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { lettersIn } from '../queue/letters.ts';
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

test('a record that ends the relay again, and again, is a dead letter at the fourth start, and all others are delivered', async () => {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory);
  const routes = ['before', 'deadly', 'behind'];
  for (const [trace, route] of routes.entries())
    await queue.append([recordOf([{ trace, isRoot: true }], { route })]);
  await close();

  for (let end = 1; end <= 3; end += 1)
    expect({ end, ...run(directory) }).toEqual({ end, signal: 'SIGKILL', said: undefined });
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

function letter(name?: string): unknown {
  return expect.stringContaining(`${name}: not sent: the relay ended twice`);
}

// Nothing behind one that is not settled can be passed: what is delivered there may come again at a start, no dead letter.
test.each([
  { deadly: 2, isBehindUnanswered: false },
  { deadly: 3, isBehindUnanswered: false },
  { deadly: 2, isBehindUnanswered: true },
  { deadly: 3, isBehindUnanswered: true },
])(
  '$deadly of them beside each other end the relay twice each, and once before that, and never again (behind one that is not answered: $isBehindUnanswered)',
  async ({ deadly, isBehindUnanswered }) => {
    const directory = await temporaryDirectory();
    const { queue, close } = await open(directory);
    const names = Array.from({ length: deadly }, (_, i) => `deadly ${i + 1}`);
    const routes = [...(isBehindUnanswered ? ['unanswered'] : []), 'before', ...names, 'behind'];
    for (const [trace, route] of routes.entries())
      await queue.append([recordOf([{ trace, isRoot: true }], { route })]);
    await close();

    for (let end = 1; end <= 1 + 2 * deadly; end += 1)
      expect({ end, ...run(directory) }).toEqual({ end, signal: 'SIGKILL', said: undefined });
    // The others were found out at the starts before, if their letters were stored before the next one ended the relay.
    for (let start = 0; start < (isBehindUnanswered ? 2 : 1); start += 1) {
      const { signal, said } = run(directory);
      expect(signal).toBe(isBehindUnanswered ? 'SIGTERM' : null);
      const delivered: unknown = expect.arrayContaining(['behind']);
      const last: unknown = expect.arrayContaining([letter(names.at(-1))]);
      expect(said).toEqual({ delivered, letters: start === 0 ? last : [] });
    }
    const letters = await lettersIn(directory);
    expect(letters.map(({ meta: { route, reason } }) => `${route.name}: ${reason}`)).toEqual(
      names.map(letter),
    );
  },
  60_000,
);
