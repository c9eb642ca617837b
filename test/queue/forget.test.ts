import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { forgetDestination } from '../../src/queue/forget.ts';
import { open, readAll, record, segmentFiles, temporaryDirectory, textOf } from './support.ts';

const BOTH = ['mlflow', 'phoenix'];

/** A queue in which both destinations had a record waiting, and each read and settled what `settledBy` says. */
async function queueOf(...texts: string[]) {
  const directory = await temporaryDirectory();
  const { queue, close } = await open(directory, { destinations: BOTH });
  for (const text of texts) await queue.append([record(text, { to: BOTH })]);
  for (const lease of await readAll(queue.reader('mlflow'))) lease.settle();
  await close();
  return directory;
}

const only = { destinations: ['mlflow'] };

describe('a destination that is not in the configuration any more', () => {
  test('keeps what it had waiting, is told of, and goes on when it is named again', async () => {
    const directory = await queueOf('a', 'b');
    const without = await open(directory, only);
    expect(without.queue.status().unconfigured).toEqual({ phoenix: 2 });
    await without.queue.append([record('later')]);
    for (const lease of await readAll(without.queue.reader('mlflow'))) lease.settle();
    await without.close();

    const again = await open(directory, { destinations: BOTH });
    expect(again.queue.status().unconfigured).toEqual({});
    expect((await readAll(again.queue.reader('phoenix'))).map(textOf)).toEqual(['a', 'b']);
  });

  test('does not keep what came after it was taken out', async () => {
    const directory = await queueOf('kept');
    const maxBytes = 1024 * 1024;
    const { queue } = await open(directory, { ...only, maxBytes });
    // Several times the size of the queue goes through it.
    for (let i = 0; i < 8; i++) {
      for (let j = 0; j < 5; j++) {
        expect(await queue.append([record('x', { bytes: 100_000 })])).toBe('stored');
        for (const lease of await readAll(queue.reader('mlflow'))) lease.settle();
      }
      await expect.poll(() => queue.status().bytes, { timeout: 10_000 }).toBeLessThan(300_000);
    }
    expect(queue.status().unconfigured).toEqual({ phoenix: 1 });
  });

  test('is forgotten without a relay: a start frees its room', async () => {
    const directory = await queueOf('a');
    expect(await forgetDestination(directory, 'phoenix')).toBe('this process');
    const { queue } = await open(directory, only);
    expect(queue.status().unconfigured).toEqual({});
    await expect.poll(() => segmentFiles(directory), { timeout: 10_000 }).toHaveLength(1);
    expect(await readdir(join(directory, 'positions'))).toEqual([
      'mlflow.in-hand',
      'mlflow.ledger',
      'mlflow.position',
    ]);
  });

  test('is forgotten beside a running relay, which counts what is given up and frees its room', async () => {
    const directory = await queueOf('a', 'b');
    const { queue, metrics } = await open(directory, only);
    expect(await segmentFiles(directory)).toHaveLength(2);
    expect(await forgetDestination(directory, 'phoenix')).toBe('running relay');
    expect(queue.status().unconfigured).toEqual({});
    expect((await metrics.discardedSpans.get()).values).toEqual([
      { labels: { destination: 'phoenix' }, value: 2 },
    ]);
    await expect.poll(() => segmentFiles(directory), { timeout: 10_000 }).toHaveLength(1);
    expect(await readdir(join(directory, 'positions'))).toEqual([
      'mlflow.in-hand',
      'mlflow.ledger',
      'mlflow.position',
    ]);
  });
});

describe('forgetDestination refuses', () => {
  test('one that the running relay delivers to; nothing of it is lost', async () => {
    const directory = await queueOf('a');
    const { queue } = await open(directory, { destinations: BOTH });
    await expect(forgetDestination(directory, 'phoenix')).rejects.toMatchObject({
      code: 'DESTINATION_IN_USE',
      message: expect.stringContaining('the running relay delivers to phoenix'),
    });
    expect((await readAll(queue.reader('phoenix'))).map(textOf)).toEqual(['a']);
  });

  test('a name that the queue does not know, naming those it does', async () => {
    const directory = await queueOf('a');
    await expect(forgetDestination(directory, 'phonix')).rejects.toMatchObject({
      code: 'DESTINATION_UNKNOWN',
      message: expect.stringContaining('it knows mlflow, phoenix'),
    });
    await expect(forgetDestination(await temporaryDirectory(), 'phoenix')).rejects.toMatchObject({
      code: 'QUEUE_UNUSABLE',
      message: expect.stringContaining('there is no queue in'),
    });
  });
});

test('a request that was left behind does nothing to a destination of that name that came later', async () => {
  const directory = await queueOf('a');
  await writeFile(join(directory, 'positions', 'phoenix.forget'), '');
  const { queue } = await open(directory, { destinations: BOTH });
  await expect
    .poll(() => readdir(join(directory, 'positions')), { timeout: 10_000 })
    .not.toContain('phoenix.forget');
  expect((await readAll(queue.reader('phoenix'))).map(textOf)).toEqual(['a']);
});
