import { expect, test } from 'vitest';
import { waitFor } from '../stack/processes.ts';
import { open, readAll, record, temporaryDirectory, textOf } from './support.ts';
import type { QueueReader, Lease } from '../../src/queue/queue.ts';

const BYTES = 1000;
/** A little over ten records with their frames. */
const LIMIT = 12_000;

/** Reads as delivery does: while it may, and while there is something. */
async function readWhileAllowed(reader: QueueReader): Promise<Lease[]> {
  const leases: Lease[] = [];
  while (!reader.isHeldBack) {
    const lease = await reader.next();
    if (lease === undefined) return leases;
    leases.push(lease);
  }
  return leases;
}

function bytesOf(leases: readonly Lease[]): number {
  return leases.reduce((sum, { record: { payload } }) => sum + payload.length, 0);
}

test('a reader is held back while a crash would bring too much again, and goes on when the position is saved', async () => {
  const { queue } = await open(await temporaryDirectory(), { maxRepeatedBytes: LIMIT });
  for (let i = 0; i < 40; i++) await queue.append([record(String(i % 10), { bytes: BYTES })]);
  const reader = queue.reader('mlflow');
  const leases = await readWhileAllowed(reader);
  expect(reader.isHeldBack).toBe(true);
  expect(bytesOf(leases)).toBeLessThanOrEqual(LIMIT);

  // All but the first: the position stays where it is.
  for (const { settle } of leases.slice(1)) settle();
  await reader.waitForMore();
  expect(reader.isHeldBack).toBe(true);
  leases[0]?.settle();
  while (reader.isHeldBack) await reader.waitForMore();
  expect(await readWhileAllowed(reader)).not.toEqual([]);
});

test('a patient reader hands out sixteen times as much', async () => {
  const { queue } = await open(await temporaryDirectory(), { maxRepeatedBytes: LIMIT });
  for (let i = 0; i < 250; i++) await queue.append([record('x', { bytes: BYTES })]);
  const reader = queue.reader('mlflow');
  await readWhileAllowed(reader);
  reader.isPatient = true;
  const more = await readWhileAllowed(reader);
  expect(reader.isHeldBack).toBe(true);
  expect(bytesOf(more)).toBeGreaterThan(12 * LIMIT);
  expect(bytesOf(more)).toBeLessThan(16 * LIMIT);
});

test('a reader knows whether the queue has something of others', async () => {
  const { queue } = await open(await temporaryDirectory());
  const reader = queue.reader('mlflow');
  await queue.append([{ ...record('x'), sender: 'a' }]);
  expect([reader.hasOthers('a'), reader.hasOthers('b')]).toEqual([false, true]);
  await queue.append([{ ...record('x'), sender: 'b' }]);
  expect(reader.hasOthers('a')).toBe(true);
});

test('delivering and settling in order is never held back for good, at any number of records', async () => {
  const { queue } = await open(await temporaryDirectory(), { maxRepeatedBytes: LIMIT });
  const reader = queue.reader('mlflow');
  for (let i = 0; i < 300; i++) await queue.append([record('x', { bytes: BYTES })]);
  let settled = 0;
  while (settled < 300) {
    while (reader.isHeldBack) await reader.waitForMore();
    for (const { settle } of await readWhileAllowed(reader)) {
      settle();
      settled++;
    }
  }
  expect(settled).toBe(300);
});

test('whatever is settled behind a record that is not, a crash brings no more again than the limit and a frame', async () => {
  const directory = await temporaryDirectory();
  const crashed = await open(directory, { maxRepeatedBytes: LIMIT, lock: () => () => {} });
  for (let i = 0; i < 100; i++) await crashed.queue.append([record(`${i} `, { bytes: BYTES })]);
  const reader = crashed.queue.reader('mlflow');
  const delivered = new Set<string>();
  const take = async () => {
    for (const lease of await readWhileAllowed(reader)) {
      // One of them is stuck.
      if (textOf(lease).startsWith('20 ')) continue;
      delivered.add(textOf(lease));
      lease.settle();
    }
  };
  const isStuck = async () => {
    await take();
    return delivered.size > 20 && reader.isHeldBack ? true : undefined;
  };
  await waitFor('the reader was not held back', 10_000, isStuck);

  const { queue } = await open(directory, { lock: () => () => {} });
  const again = (await readAll(queue.reader('mlflow'))).filter((lease) => delivered.has(textOf(lease)));
  expect(again).not.toEqual([]);
  expect(bytesOf(again)).toBeLessThanOrEqual(LIMIT + BYTES);
});
