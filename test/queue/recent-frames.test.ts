import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { open, readAll, record, segmentFiles, temporaryDirectory, textOf } from './support.ts';

const MIB = 1024 * 1024;
const name = (index: number) => `record ${String(index).padStart(2, '0')} `;

test('a reader that comes right behind the writer needs no disk', async () => {
  const directory = await temporaryDirectory();
  const { queue } = await open(directory);
  const reader = queue.reader('mlflow');
  const payload = record('never written over');
  await queue.append([payload]);
  // Whoever reads this file finds nothing any more.
  await truncate(join(directory, 'segments', (await segmentFiles(directory)).at(-1)!), 0);
  const [lease] = await readAll(reader);
  expect(lease?.record).toEqual(payload);
});

test('what came before the most recent is read from the disk, and each comes once and in order', async () => {
  const { queue } = await open(await temporaryDirectory());
  const reader = queue.reader('mlflow');
  // More than is kept of the most recent, over several segments, and the last of them after the first was read.
  const names = Array.from({ length: 30 }, (_, index) => name(index));
  for (const text of names) await queue.append([record(text, { bytes: MIB })]);
  const leases = await readAll(reader);
  await queue.append([record('the last')]);
  leases.push(...(await readAll(reader)));
  expect(leases.slice(0, -1).map(({ record: { payload } }) => payload.length)).toEqual(names.map(() => MIB));
  expect(leases.map((lease) => textOf(lease).slice(0, name(0).length))).toEqual([
    ...names,
    'the last'.slice(0, name(0).length),
  ]);
});

test('two readers have the same, each at its own pace', async () => {
  const { queue } = await open(await temporaryDirectory(), { destinations: ['first', 'second'] });
  const [first, second] = [queue.reader('first'), queue.reader('second')];
  const seen: string[] = [];
  for (const text of ['a', 'b', 'c']) {
    await queue.append([record(text, { to: ['first', 'second'] })]);
    seen.push(...(await readAll(first)).map(textOf));
  }
  expect(seen).toEqual(['a', 'b', 'c']);
  expect((await readAll(second)).map(textOf)).toEqual(seen);
});
