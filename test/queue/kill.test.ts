import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { open, readAll, temporaryDirectory, textOf } from './support.ts';

const child = new URL('appending-process.ts', import.meta.url).pathname;

test('SIGKILL: every record that was answered stored is there afterwards, and the lock is free', async () => {
  const directory = await temporaryDirectory();
  const stored = new Set<string>();
  for (let round = 0; round < 5; round++) {
    const appender = spawn(process.execPath, [child, directory, `${round}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: appender.stdout });
    const ended = once(appender, 'exit');
    const linesClosed = once(lines, 'close');
    const killAfter = 50 + Math.floor(Math.random() * 300);
    lines.on('line', (line) => {
      stored.add(line);
      if (stored.size % 400 === killAfter) appender.kill('SIGKILL');
    });
    const [, signal] = await ended;
    await linesClosed;
    expect(signal).toBe('SIGKILL');
  }
  const { queue } = await open(directory);
  const found = new Set((await readAll(queue.reader('mlflow'))).map(textOf));
  expect([...stored].filter((text) => !found.has(text))).toEqual([]);
  expect(stored.size).toBeGreaterThan(100);
}, 60_000);
