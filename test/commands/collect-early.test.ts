import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

test('this Node knows the flag that the relay sets', () => {
  const options = execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' });
  expect(options).toContain('--minor-gc-task-trigger');
});
