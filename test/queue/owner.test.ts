import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { forgetDestination } from '../../src/queue/forget.ts';
import { openLetterWork } from '../../src/queue/letter-work.ts';
import { needOwner } from '../../src/queue/owner.ts';
import { letterOf } from './letters.ts';
import { open, temporaryDirectory } from './support.ts';

const me = process.geteuid?.() ?? 0;

async function asOther<T>(work: () => Promise<T>): Promise<T> {
  const user = vi.spyOn(process, 'geteuid').mockReturnValue(me + 1);
  return work().finally(() => user.mockRestore());
}

const REFUSED = {
  code: 'QUEUE_UNUSABLE',
  message: expect.stringMatching(
    new RegExp(`belongs to user ${me}, and this command runs as user ${me + 1}.* as by sudo -u '#${me}'$`),
  ),
};

test('a command of another user writes nothing into the queue, and says whose it is', async () => {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory, { destinations: ['mlflow', 'gone'] });
  await queue.deadLetters.append([letterOf('a')]);
  await close();
  const before = (await readdir(directory, { recursive: true })).toSorted();
  const options = { directory, maxBytes: 64 * 1024 * 1024, destinations: ['mlflow'] };
  await expect(asOther(() => openLetterWork(options))).rejects.toMatchObject(REFUSED);
  await expect(asOther(() => forgetDestination(directory, 'gone'))).rejects.toMatchObject(REFUSED);
  expect((await readdir(directory, { recursive: true })).toSorted()).toEqual(before);
  expect(await forgetDestination(directory, 'gone')).toBe('this process');
});

test('whose a folder is that is not there is left to whoever opens it', async () => {
  const directory = await temporaryDirectory();
  await mkdir(join(directory, 'mine'));
  await expect(needOwner(join(directory, 'mine'))).resolves.toBeUndefined();
  await expect(asOther(() => needOwner(join(directory, 'none')))).resolves.toBeUndefined();
});
