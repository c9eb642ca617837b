import { expect, test } from 'vitest';
import { createBoundedLog } from '../../src/receiver/bounded-log.ts';
import { memoryLog } from './harness.ts';

function start() {
  const { log, lines } = memoryLog();
  let now = 0;
  const bounded = createBoundedLog(log, () => now);
  return {
    lines,
    warn: (key: string) => bounded.warn(key, { key }, 'refused'),
    pass: (ms: number) => (now += ms),
  };
}

test('one line a minute for a key, with the number of those left out', () => {
  const { lines, warn, pass } = start();
  warn('a');
  warn('a');
  warn('a');
  warn('b');
  expect(lines).toMatchObject([{ key: 'a' }, { key: 'b' }]);
  expect(lines[0]).not.toHaveProperty('suppressed');
  pass(59_999);
  warn('a');
  expect(lines).toHaveLength(2);
  pass(1);
  warn('a');
  expect(lines[2]).toMatchObject({ key: 'a', suppressed: 3 });
  pass(60_000);
  warn('a');
  expect(lines[3]).not.toHaveProperty('suppressed');
});

test('any number of keys cannot flood the log, and old ones make room', () => {
  const { lines, warn, pass } = start();
  for (let i = 0; i < 5000; i += 1) warn(`client ${i}`);
  expect(lines).toHaveLength(1001);
  pass(60_000);
  warn('client 9999');
  warn('client 9998');
  expect(lines.slice(1001)).toMatchObject([{ key: 'client 9999' }, { key: 'client 9998' }]);
});
