import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { judgeSpeed } from '../../src/doctor/queue.ts';
import { holderOf, lockDirectory } from '../../src/queue/lock.ts';
import { folder } from '../config/folder.ts';

test.each([
  [[1, 1, 500], 'ok', '1.0 ms'],
  [[30, 2, 30], 'warning', '30.0 ms'],
])('synced writes of %j ms', (times, state, words) => {
  expect(judgeSpeed(times)).toMatchObject({ state, words: expect.stringContaining(words) as string });
});

test('who looks at a lock neither takes it nor leaves a name', () => {
  const directory = folder({});
  expect(holderOf(directory)).toBeUndefined();
  const unlock = lockDirectory(directory);
  const named = readFileSync(join(directory, 'lock.holder'), 'utf8');
  expect(holderOf(directory)).toContain(`process ${process.pid} on`);
  unlock();
  expect(holderOf(directory)).toBeUndefined();
  expect(readFileSync(join(directory, 'lock.holder'), 'utf8')).toBe(named);
  lockDirectory(directory)();
});
