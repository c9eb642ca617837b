import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createTokenCache } from '../../src/auth/token-cache.ts';

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'token-cache-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

const said = () => {};
const work = async () => 'work';

test('what is to be done alone with a token waits for its turn, also when the one before fails; others do not', async () => {
  const directory = join(temporaryFolder(), 'tokens');
  const cache = () => createTokenCache(directory, { client: 'relay' });
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  const order: string[] = [];
  const first = cache().alone(async () => {
    begun.resolve();
    await end.promise;
    order.push('first');
    throw new Error('refused');
  }, said);
  await begun.promise;
  const second = cache().alone(async () => order.push('second'), said);
  await createTokenCache(directory, { client: 'other' }).alone(async () => order.push('other'), said);
  end.resolve();
  await expect(first).rejects.toThrow('refused');
  await second;
  expect(order).toEqual(['other', 'first', 'second']);
});

test('one who can do something else does not wait for long', async () => {
  const directory = join(temporaryFolder(), 'tokens');
  const cache = () => createTokenCache(directory, {});
  await cache().alone(async () => {
    expect(await cache().alone(work, said, () => 'instead')).toBe('instead');
  }, said);
  expect(await cache().alone(work, said, () => 'instead')).toBe('work');
});

const IF_ROOT: [string, (path: string) => void][] =
  process.geteuid?.() === 0 ? [['of another user', (path) => chownSync(path, 12_345, 12_345)]] : [];

test.each<[string, (path: string) => void]>([
  ['that all may write', (path) => chmodSync(path, 0o777)],
  ['that a group may write', (path) => chmodSync(path, 0o770)],
  ...IF_ROOT,
])('nothing is locked in a folder %s', async (_, open) => {
  const folder = temporaryFolder();
  const locks = join(folder, 'locks');
  mkdirSync(locks);
  open(locks);
  const cache = () => createTokenCache(join(folder, 'tokens'), {});
  const both = cache().alone(() => cache().alone(async () => 'done', said), said);
  await expect(both).resolves.toBe('done');
  expect(readdirSync(locks)).toEqual([]);
});

test('where nothing can be kept, it is done all the same', async () => {
  const file = join(temporaryFolder(), 'file');
  writeFileSync(file, '');
  const cache = createTokenCache(join(file, 'tokens'), {});
  await expect(cache.alone(async () => 'done', said)).resolves.toBe('done');
});
