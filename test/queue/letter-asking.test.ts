import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import { askRunningRelay } from '../../src/queue/letter-asking.ts';
import type { Asking } from '../../src/queue/letter-asking.ts';
import { inboxDirectory, inboxFiles, putFile } from '../../src/queue/letter-inbox.ts';
import { lettersDirectory } from '../../src/queue/letter-reader.ts';
import { lockDirectory } from '../../src/queue/lock.ts';
import { waitFor } from '../stack/processes.ts';
import { temporaryDirectory } from './support.ts';

const DEADLINE_MS = 20_000;

/** Asks where somebody has the lock and looks at no request; what a relay would do is done by the test. */
async function ask(more: Partial<Asking> = {}) {
  const directory = await temporaryDirectory();
  let unlock: (() => void) | undefined = lockDirectory(directory);
  const end = () => {
    unlock?.();
    unlock = undefined;
  };
  onTestFinished(end);
  const inbox = inboxDirectory(lettersDirectory(directory));
  const interrupted = new AbortController();
  const said: string[] = [];
  const answered = askRunningRelay(
    { directory, interrupted: interrupted.signal, say: (words) => said.push(words), ...more },
    { action: 'discard', segment: 1, ids: ['a'] },
  );
  const id = await waitFor('nothing was asked', DEADLINE_MS, async () =>
    (await readdir(inbox)).find((name) => name.endsWith('.json'))?.slice(0, -'.json'.length),
  );
  const files = inboxFiles(inbox, id);
  return {
    answered,
    said,
    files,
    end,
    interrupt: () => interrupted.abort(),
    begin: () => rename(files.request, files.begun),
    left: () => readdir(inbox),
    untilSaid: (words: string) =>
      waitFor(`nobody said ${words}`, DEADLINE_MS, () =>
        Promise.resolve(said.some((each) => each.includes(words)) ? true : undefined),
      ),
  };
}

const NOTHING = { letters: 0, spans: 0, destinations: [], unconfigured: 0 };

test('an interruption takes back what was not begun', async () => {
  const { answered, interrupt, left } = await ask();
  interrupt();
  expect(await answered).toEqual({
    ...NOTHING,
    stopped: 'it was interrupted; withdrawn: the relay had not begun; run it again for the rest',
  });
  expect(await left()).toEqual([]);
});

test('an interruption of what is under way says so, and the answer is waited for', async () => {
  const { answered, interrupt, begin, untilSaid, files, left } = await ask();
  await begin();
  interrupt();
  await untilSaid('already under way: it may still be done');
  const answer = { ...NOTHING, letters: 1, spans: 2 };
  await putFile(realFileSystem, files.answer, answer);
  expect(await answered).toEqual(answer);
  expect(await left()).toEqual([files.begun.slice(join(files.begun, '..').length + 1)]);
});

test('who waits is told for whom, and when that one has gone', async () => {
  const { answered, untilSaid, end, left } = await ask();
  await untilSaid(`waiting for the relay (process ${process.pid} on `);
  end();
  expect((await answered).stopped).toMatch(
    /^the relay .* has gone; withdrawn: .*; run it again for the rest$/,
  );
  expect(await left()).toEqual([]);
});

test.each([
  ['not begun', 'withdrawn: the relay had not begun'],
  ['begun', 'already under way: it may still be done'],
])('at the deadline, %s', async (state, words) => {
  const { answered, begin } = await ask({ deadlineMs: 1000 });
  if (state === 'begun') await begin();
  expect((await answered).stopped).toContain(
    `has not answered within 1 seconds; ${words}; its log says more`,
  );
});

test('a request that is gone without an answer', async () => {
  const { answered, files } = await ask();
  await realFileSystem.remove(files.request);
  expect((await answered).stopped).toContain('could not say how much');
});
