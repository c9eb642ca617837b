import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSecret, secretReader } from '../../src/config/secret.ts';
import { folder } from './folder.ts';

describe('a secret in a file', () => {
  test.each([
    ['hunter2', 'hunter2'],
    ['hunter2\n', 'hunter2'],
    ['hunter2\r\n', 'hunter2'],
    ['hunter2\n\n', 'hunter2\n'],
    [' hun ter2 ', ' hun ter2 '],
    ['pässwörd', 'pässwörd'],
  ])('%j is %j', async (content, secret) => {
    const file = join(folder({ secret: content }), 'secret');
    await expect(secretReader({ file })()).resolves.toBe(secret);
  });

  test('is read at each call, so that a rotated one is used', async () => {
    const file = join(folder({ secret: 'old' }), 'secret');
    const read = secretReader({ file });
    await expect(read()).resolves.toBe('old');
    writeFileSync(file, 'new\n');
    await expect(read()).resolves.toBe('new');
  });

  test('that is gone, empty or too long is an error that names the file, and mends', async () => {
    const file = join(folder({ secret: 'x' }), 'secret');
    const read = secretReader({ file });
    const refused = async (message: string) => {
      const error = { code: 'CONFIG_UNREADABLE', message: expect.stringContaining(message) as string };
      await expect(read()).rejects.toMatchObject(error);
      expect(() => readSecret(file)).toThrow(expect.objectContaining(error) as Error);
    };

    rmSync(file);
    await refused(`cannot read the secret file ${file}: ENOENT`);
    writeFileSync(file, '\n');
    await refused(`the secret file ${file} is empty`);
    writeFileSync(file, 'x'.repeat(65_537));
    await refused(`the secret in ${file} is longer than 65536 bytes`);
    writeFileSync(file, 'y');
    await expect(read()).resolves.toBe('y');
    expect(readSecret(file)).toBe('y');
  });
});

test('a secret from the environment is as it was', async () => {
  await expect(secretReader({ value: 'a\n' })()).resolves.toBe('a\n');
});
