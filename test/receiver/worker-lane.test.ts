import type { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { WorkerLane } from '../../src/receiver/worker-lane.ts';

const FILE = new URL('./mortal-worker.ts', import.meta.url);
const mortalLane = () => new WorkerLane<string, string>(FILE, 32);

describe('a thread that dies', () => {
  test.each(['exit', 'throw', 'fill the heap'])('costs the job it had, and no other: %s', async (way) => {
    const lane = mortalLane();
    const results = await Promise.all(['a', way, 'b', 'c'].map((text) => lane.run('s', text, []).result));
    expect(results).toEqual([
      { done: true, result: 'a' },
      { done: false, crashed: expect.stringMatching(/./) },
      { done: true, result: 'b' },
      { done: true, result: 'c' },
    ]);
    expect(await lane.run('s', 'd', []).result).toEqual({ done: true, result: 'd' });
  });

  test('between two jobs costs neither', async () => {
    const lane = mortalLane();
    const ended = new Promise((resolve) =>
      process.once('worker', (worker: Worker) => worker.once('exit', resolve)),
    );
    expect(await lane.run('s', 'a', []).result).toMatchObject({ done: true });
    expect(await lane.run('s', 'later', []).result).toMatchObject({ done: true });
    await ended;
    expect(await lane.run('s', 'b', []).result).toMatchObject({ done: true });
  });
});

describe('a thread that cannot be started', () => {
  // A worker is made of a file only: with this address its constructor throws, as it does where no thread can be had.
  const NO_FILE = 'https://localhost/no-file';
  const crashed = { done: false, crashed: expect.stringMatching(/file/) as unknown };

  test('costs the job that needed it, and later ones are done', async () => {
    const file = new URL(NO_FILE);
    const lane = new WorkerLane<string, string>(file, 32);
    const begun: string[] = [];
    const first = ['a', 'b'].map((text) => lane.run('s', text, [], () => begun.push(text)).result);
    expect(await Promise.all(first)).toEqual([crashed, crashed]);
    expect(begun).toEqual(['a', 'b']);
    file.href = FILE.href;
    expect(await lane.run('s', 'c', []).result).toEqual({ done: true, result: 'c' });
  });

  test('costs those that wait when the one before has died, and later ones are done', async () => {
    const file = new URL(FILE.href);
    const lane = new WorkerLane<string, string>(file, 32);
    const jobs = ['exit', 'a', 'b'].map((text) => lane.run('s', text, []).result);
    file.href = NO_FILE;
    expect(await Promise.all(jobs)).toEqual([{ done: false, crashed: 'exit code 3' }, crashed, crashed]);
    file.href = FILE.href;
    expect(await lane.run('s', 'c', []).result).toEqual({ done: true, result: 'c' });
  });
});

test('a message that cannot be sent costs its job, and the thread does the next one', async () => {
  const lane = new WorkerLane<unknown, string>(FILE, 32);
  const results = await Promise.all([() => {}, 'a'].map((message) => lane.run('s', message, []).result));
  expect(results).toEqual([
    { done: false, crashed: expect.stringContaining('could not be cloned') },
    { done: true, result: 'a' },
  ]);
});

test('senders take turns', async () => {
  const lane = mortalLane();
  const order: string[] = [];
  const jobs = ['a1', 'a2', 'a3', 'b1', 'a4', 'c1', 'b2'].map(
    (text) => lane.run(text[0]!, text, [], () => order.push(text)).result,
  );
  await Promise.all(jobs);
  // The first begins at once.
  expect(order).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4']);
});

test('a job that waits can be withdrawn, one that has begun is finished', async () => {
  const lane = mortalLane();
  const begun: string[] = [];
  const [first, second, third] = ['a', 'b', 'c'].map((text) =>
    lane.run('s', text, [], () => begun.push(text)),
  );
  second!.withdraw();
  expect(await second!.result).toBeUndefined();
  first!.withdraw();
  expect(await first!.result).toEqual({ done: true, result: 'a' });
  expect(await third!.result).toEqual({ done: true, result: 'c' });
  expect(begun).toEqual(['a', 'c']);
});
