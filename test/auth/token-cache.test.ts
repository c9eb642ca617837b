import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

test('where nothing can be kept, it is done all the same', async () => {
  const file = join(temporaryFolder(), 'file');
  writeFileSync(file, '');
  const cache = createTokenCache(join(file, 'tokens'), {});
  await expect(cache.alone(async () => 'done', said)).resolves.toBe('done');
});
