import { readFile, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import { inboxDirectory, inboxFiles, putFile } from '../../src/queue/letter-inbox.ts';
import type { LetterAnswer, LetterRequest } from '../../src/queue/letter-requests.ts';
import { waitFor } from '../stack/processes.ts';
import { letterOf, lettersIn } from './letters.ts';
import { open, temporaryDirectory } from './support.ts';

const DEADLINE_MS = 20_000;

async function setUp() {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory);
  await queue.deadLetters.append([letterOf('a'), letterOf('b')]);
  await close();
  const inbox = inboxDirectory(join(directory, 'dead-letters'));
  await realFileSystem.makeDirectory(inbox);
  return { directory, inbox };
}

function answerTo(inbox: string, id: string): Promise<LetterAnswer> {
  return waitFor('there was no answer', DEADLINE_MS, async () => {
    const text = await readFile(inboxFiles(inbox, id).answer, 'utf8').catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as LetterAnswer);
  });
}

/** Open, and past what was there before. */
async function openTidied(directory: string, inbox: string, fs: FileSystem = realFileSystem) {
  await writeFile(join(inbox, 'old.answer'), '{}');
  const opened = await open(directory, { fs });
  await untilGone(inbox, 'old.answer');
  return opened;
}

async function untilGone(inbox: string, ...names: string[]): Promise<void> {
  await waitFor('files stayed in the inbox', DEADLINE_MS, async () => {
    const there = await readdir(inbox);
    return names.some((name) => there.includes(name)) ? undefined : true;
  });
}

test('what was asked before the start is not done, and what killed commands left is removed, but not what is being written', async () => {
  const { directory, inbox } = await setUp();
  const [first] = await lettersIn(directory);
  const request: LetterRequest = { action: 'discard', segment: first!.segment, ids: [first!.meta.id] };
  await putFile(realFileSystem, inboxFiles(inbox, 'left').request, request);
  await putFile(realFileSystem, inboxFiles(inbox, 'cut-off').begun, request);
  await writeFile(join(inbox, 'old.answer'), '{}');
  await writeFile(join(inbox, 'old.answer.partial'), '{');
  await writeFile(join(inbox, 'old.json.partial'), '{');
  const longAgo = new Date(Date.now() - 10 * 60_000);
  await utimes(join(inbox, 'old.json.partial'), longAgo, longAgo);
  await writeFile(join(inbox, 'being-written.json.partial'), '{');
  const { queue, logged } = await open(directory);
  // Who waits all the same is told.
  for (const id of ['left', 'cut-off'])
    expect(await answerTo(inbox, id)).toMatchObject({
      letters: 0,
      stopped: expect.stringContaining('started meanwhile'),
    });
  await untilGone(
    inbox,
    'left.json',
    'cut-off.begun',
    'old.answer',
    'old.answer.partial',
    'old.json.partial',
  );
  expect(await readdir(inbox)).toContain('being-written.json.partial');
  expect((await lettersIn(directory)).map(({ text }) => text)).toEqual(['a', 'b']);
  expect(queue.deadLetters.status().spans).toEqual({ mlflow: 2 });
  expect(logged().filter(({ action }) => action === 'discard')).toMatchObject([
    { level: 'warn', letters: 1, msg: expect.stringContaining('before this start is not done') },
    { level: 'warn', letters: 1 },
  ]);
});

test('what is asked of a queue that is open is done, answered and logged', async () => {
  const { directory, inbox } = await setUp();
  const { logged } = await openTidied(directory, inbox);
  const [first] = await lettersIn(directory);
  const request: LetterRequest = { action: 'discard', segment: first!.segment, ids: [first!.meta.id] };
  await putFile(realFileSystem, inboxFiles(inbox, 'new').request, request);
  const done = { letters: 1, spans: 1, destinations: ['mlflow'] };
  expect(await answerTo(inbox, 'new')).toEqual({ ...done, unconfigured: 0 });
  await untilGone(inbox, 'new.json', 'new.begun');
  expect((await lettersIn(directory)).map(({ text }) => text)).toEqual(['b']);
  expect(logged()).toMatchObject([{ ...done, msg: 'discarded dead letters, as a command has asked' }]);
});

test('what is under way cannot be taken back', async () => {
  const { directory, inbox } = await setUp();
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const fs: FileSystem = {
    ...realFileSystem,
    async rename(from, to) {
      if (from.endsWith('.segment.new')) {
        begun.resolve();
        await gate.promise;
      }
      await realFileSystem.rename(from, to);
    },
  };
  await openTidied(directory, inbox, fs);
  onTestFinished(() => gate.resolve()); // before it is closed
  const [first] = await lettersIn(directory);
  const request: LetterRequest = { action: 'discard', segment: first!.segment, ids: [first!.meta.id] };
  await putFile(realFileSystem, inboxFiles(inbox, 'new').request, request);
  await begun.promise;
  expect(await readdir(inbox)).toEqual(['new.begun']);
  gate.resolve();
  expect(await answerTo(inbox, 'new')).toMatchObject({ letters: 1 });
});

test.each([
  ['no JSON', '{"action":'],
  ['no action that there is', '{"action":"burn","segment":1,"ids":[]}'],
  ['no ids', '{"action":"discard","segment":1,"ids":[1]}'],
])('a request that is none (%s) is answered, and harms nothing', async (_, content) => {
  const { directory, inbox } = await setUp();
  await openTidied(directory, inbox);
  await writeFile(inboxFiles(inbox, 'odd').request, content);
  const { letters, stopped } = await answerTo(inbox, 'odd');
  expect({ letters, stopped }).toEqual({
    letters: 0,
    stopped: expect.stringContaining('could not read the request'),
  });
  await untilGone(inbox, 'odd.json', 'odd.begun');
  expect(await lettersIn(directory)).toHaveLength(2);
});
