import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { watchFiles } from '../../src/config/watch.ts';
import { folder } from './folder.ts';

const POLL_MS = 5;

/** Watches; `next` resolves with the next file that is reported. */
function watch(files: string[]) {
  const reported: string[] = [];
  let wake: (() => void) | undefined;
  const stop = watchFiles(
    files,
    (file) => {
      reported.push(file);
      wake?.();
    },
    POLL_MS,
  );
  onTestFinished(stop);
  const next = async () => {
    if (reported.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    return reported.shift();
  };
  return { next, stop, reported };
}

test('reports a file whose content changed, and only that one', async () => {
  const path = folder({ a: '1', b: '1' });
  const { next, reported } = watch([join(path, 'a'), join(path, 'b')]);
  writeFileSync(join(path, 'b'), '2 ');
  await expect(next()).resolves.toBe(join(path, 'b'));
  writeFileSync(join(path, 'a'), '2 ');
  await expect(next()).resolves.toBe(join(path, 'a'));
  expect(reported).toEqual([]);
});

test('no change between the call and the first poll is missed', async () => {
  const file = join(folder({ a: '1' }), 'a');
  const { next } = watch([file]);
  // Written in the same turn of the event loop: nothing asynchronous has been able to look at the file.
  writeFileSync(file, '22');
  await expect(next()).resolves.toBe(file);
});

test('reports a file that was put in place of another', async () => {
  const path = folder({ a: '1', new: '1' });
  const { next } = watch([join(path, 'a')]);
  renameSync(join(path, 'new'), join(path, 'a'));
  await expect(next()).resolves.toBe(join(path, 'a'));
});

test('follows a swapped link, the way Kubernetes updates a secret', async () => {
  const path = folder({ '..v1/tls.crt': '1', '..v2/tls.crt': '2' });
  symlinkSync('..v1', join(path, '..data'));
  symlinkSync('..data/tls.crt', join(path, 'tls.crt'));
  const { next } = watch([join(path, 'tls.crt')]);

  symlinkSync('..v2', join(path, '..data_tmp'));
  renameSync(join(path, '..data_tmp'), join(path, '..data'));
  rmSync(join(path, '..v1'), { recursive: true });
  await expect(next()).resolves.toBe(join(path, 'tls.crt'));
});

test('a file that goes is no change; one that comes, or comes back, is', async () => {
  const path = folder({ here: '1', other: '1' });
  const { next } = watch([join(path, 'here'), join(path, 'later/file'), join(path, 'other')]);
  rmSync(join(path, 'here'));
  // A report of `other` shows that the polls have passed over the missing one.
  writeFileSync(join(path, 'other'), '22');
  await expect(next()).resolves.toBe(join(path, 'other'));
  writeFileSync(join(path, 'here'), '1');
  await expect(next()).resolves.toBe(join(path, 'here'));
  mkdirSync(join(path, 'later'));
  writeFileSync(join(path, 'later/file'), '1');
  await expect(next()).resolves.toBe(join(path, 'later/file'));
});

test('reports nothing after it was stopped', async () => {
  const file = join(folder({ a: '1' }), 'a');
  const stopped = watch([file]);
  const other = watch([file]);
  stopped.stop();
  writeFileSync(file, '22');
  await other.next();
  writeFileSync(file, '333');
  await other.next();
  expect(stopped.reported).toEqual([]);
});
