import { describe, expect, test } from 'vitest';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import type { LetterRequest } from '../../src/queue/letter-requests.ts';
import type { Lease } from '../../src/queue/queue.ts';
import { FailingDisk } from '../fault/support/failing-disk.ts';
import { pass, useFakeTimers } from '../fault/support/fake-time.ts';
import { MemoryDisk } from '../fault/support/memory-disk.ts';
import {
  DEAD_LETTERS,
  DIRECTORY,
  letterOf,
  openOn,
  POSITIONS,
  readAll,
  recordOf,
  SEGMENTS,
  textOf,
} from '../fault/support/queue-in-memory.ts';
import { lettersIn } from './letters.ts';

/* What a start knows of spans that had left the queue. Timers go by `pass`; a record has three spans. */

useFakeTimers();

const LEDGER = `${POSITIONS}/mlflow.ledger`;
const SPANS = 3;

type Open = Awaited<ReturnType<typeof openOn>>;

/** As a relay is found that was killed at this moment. */
function killed(disk: MemoryDisk, without: readonly string[] = []): MemoryDisk {
  return new MemoryDisk([...disk.files()].filter(([path]) => !without.some((part) => path.includes(part))));
}

/** Counts how often a ledger is written. */
class CountingDisk extends MemoryDisk {
  ledgers = 0;

  override create(path: string) {
    if (path.startsWith(LEDGER)) this.ledgers++;
    return super.create(path);
  }
}

async function queueOf(...texts: string[]): Promise<{ disk: MemoryDisk } & Open> {
  const disk = new MemoryDisk();
  const opened = await openOn(disk);
  for (const text of texts) await opened.queue.append([recordOf(text)]);
  return { disk, ...opened };
}

/** The spans that a destination refused become a letter, as delivery does it. */
async function bury({ queue }: Pick<Open, 'queue'>, lease: Lease, spans: readonly number[] = [0, 1, 2]) {
  const payload = lease.record.payload;
  const letter = { ...letterOf(textOf(lease)), payload, spanCount: spans.length, ...lease.leave(spans) };
  await queue.deadLetters.append([letter]);
  lease.done(spans);
}

/** What a start on this disk sends: each record with those of its spans that are left. */
async function sentBy(fs: FileSystem, options: Parameters<typeof openOn>[1] = {}) {
  const { queue, reader, lines } = await openOn(fs, options);
  const { recoveredSpans } = queue.status().destinations[options.destinations?.[0] ?? 'mlflow']!;
  const leases = await readAll(reader);
  const records = leases.map((lease) => ({
    text: textOf(lease),
    spans: [0, 1, 2].filter((span) => lease.left?.has(span) !== true),
  }));
  const sum = records.reduce((spans, each) => spans + each.spans.length, 0);
  expect(recoveredSpans, 'spans that were found').toBe(sum);
  expect(queue.status().destinations[options.destinations?.[0] ?? 'mlflow']?.waitingSpans).toBe(sum);
  return { queue, lines, leases, records };
}

const all = (text: string) => ({ text, spans: [0, 1, 2] });

async function ask({ queue }: Pick<Open, 'queue'>, fs: FileSystem, action: LetterRequest['action']) {
  for (const { segment, meta } of await lettersIn(DIRECTORY, fs)) {
    const answer = await queue.letterDesk.carryOut({ action, segment, ids: [meta.id] });
    expect(answer).toMatchObject({ letters: 1 });
    expect(answer.stopped).toBeUndefined();
  }
}

describe('a dead letter', () => {
  test('tells the next start what has left with it, from the moment at which it is stored', async () => {
    const opened = await queueOf('a', 'b');
    const [a, b] = await readAll(opened.reader);
    await bury(opened, a!, [1]);
    await bury(opened, b!);
    expect((await sentBy(killed(opened.disk))).records).toEqual([{ text: 'a', spans: [0, 2] }]);
  });

  test('that was discarded does not come back, nor does one that was replayed come twice', async () => {
    const opened = await queueOf('open', 'discarded', 'replayed', 'open too');
    const [open, discarded, replayed] = await readAll(opened.reader);
    await bury(opened, open!, [0]);
    await bury(opened, discarded!);
    await ask(opened, opened.disk, 'discard');
    await bury(opened, replayed!);
    await ask(opened, opened.disk, 'replay');
    const disk = killed(opened.disk);
    expect(await lettersIn(DIRECTORY, disk)).toEqual([]);
    const { records } = await sentBy(disk);
    expect(records).toEqual([{ text: 'open', spans: [1, 2] }, all('open too'), all('replayed')]);
  });

  test('is discarded by a process of its own while its record waits, and does not come back', async () => {
    const opened = await queueOf('open', 'b');
    const [, b] = await readAll(opened.reader);
    await bury(opened, b!);
    const disk = killed(opened.disk);
    const command = await openOn(disk);
    await ask(command, disk, 'discard');
    expect((await sentBy(killed(disk))).records).toEqual([all('open')]);
  });

  test('of a destination that is not configured meanwhile is discarded, and does not come back', async () => {
    const both = ['mlflow', 'phoenix'];
    const disk = new MemoryDisk();
    const opened = await openOn(disk, { destinations: both });
    for (const text of ['a', 'b']) await opened.queue.append([recordOf(text, { to: both })]);
    const [, b] = await readAll(opened.queue.reader('phoenix'));
    const letter = { ...letterOf('b'), destination: 'phoenix', ...b!.leave([0, 1, 2]) };
    await opened.queue.deadLetters.append([letter]);
    b!.done([0, 1, 2]);

    const without = killed(disk);
    const only = await openOn(without, { destinations: ['mlflow'] });
    expect(only.queue.status().unconfigured).toEqual({ phoenix: SPANS });
    await ask(only, without, 'discard');
    const { records } = await sentBy(killed(without), { destinations: ['phoenix', 'mlflow'] });
    expect(records).toEqual([all('a')]);
  });

  test('of which an append had failed, is there all the same, and was done again: a start has it once', async () => {
    const disk = new MemoryDisk();
    const path = `${DEAD_LETTERS}/`;
    const failing = new FailingDisk(disk, [
      { call: 'sync', path, nth: 1002, lasts: false, code: 'EIO', effect: 'all' },
    ]);
    const opened = await openOn(failing);
    await opened.queue.append([recordOf('a')]);
    const [a] = await readAll(opened.reader);
    failing.counts.set('sync', 1000);
    await bury(opened, a!, [0]);
    const letter = { ...letterOf('a'), ...a!.leave([1]) };
    await expect(opened.queue.deadLetters.append([letter])).rejects.toThrow(/does not take writes/);
    await pass(2);
    await opened.queue.deadLetters.append([letter]);
    const ids = (await lettersIn(DIRECTORY, disk)).map(({ meta }) => meta.id);
    expect(
      ids.filter((id) => id === letter.id),
      'both tries are on the disk',
    ).toHaveLength(2);

    const after = killed(disk);
    const { queue, records } = await sentBy(after);
    expect(records).toEqual([{ text: 'a', spans: [2] }]);
    const left = (await lettersIn(DIRECTORY, after)).map(({ meta }) => meta.id);
    expect(left.filter((id) => id === letter.id)).toHaveLength(1);
    expect(left).toHaveLength(2);
    expect(queue.deadLetters.status().spans['mlflow']).toBe(1 + SPANS);
  });

  test('that an older log had says nothing of a record in the same place', async () => {
    const opened = await queueOf('of the older log', 'another');
    const [a] = await readAll(opened.reader);
    await bury(opened, a!);
    // Somebody begins anew, and keeps the letters.
    const disk = killed(opened.disk, [SEGMENTS, POSITIONS]);
    const anew = await openOn(disk);
    for (const text of ['of the newer log', 'another']) await anew.queue.append([recordOf(text)]);
    const { records } = await sentBy(killed(disk));
    expect(records).toEqual([all('of the newer log'), all('another')]);
  });

  test('of a segment that was begun where all before were removed is found as well', async () => {
    const opened = await queueOf('open', 'b', 'c');
    const [, b] = await readAll(opened.reader);
    await bury(opened, b!);
    await ask(opened, opened.disk, 'discard');
    await opened.queue.close();
    const again = await openOn(opened.disk);
    const [open, c] = await readAll(again.reader);
    await bury(again, c!);
    expect((await sentBy(killed(opened.disk))).records).toEqual([all(textOf(open!))]);
  });
});

describe('the ledger', () => {
  test('tells after an orderly end what had left behind a record that is open', async () => {
    const { disk, queue, reader } = await queueOf('open', 'b', 'c', 'd', 'e');
    const [, b, c, d] = await readAll(reader);
    for (const lease of [b, d]) lease!.settle();
    c!.done([2]);
    await queue.close();
    const { records } = await sentBy(disk);
    expect(records).toEqual([all('open'), { text: 'c', spans: [0, 1] }, all('e')]);
  });

  test('and within some seconds where the position stands still, before a crash', async () => {
    const { disk, reader } = await queueOf('open', 'b', 'c');
    const [, b, c] = await readAll(reader);
    b!.settle();
    c!.done([0]);
    expect((await sentBy(killed(disk))).records, 'at once').toEqual(['open', 'b', 'c'].map(all));
    await pass(6);
    const { records } = await sentBy(killed(disk));
    expect(records).toEqual([all('open'), { text: 'c', spans: [1, 2] }]);
  });

  test('is not written for what is settled in order, and by letters only for each of their segments', async () => {
    const disk = new CountingDisk();
    const opened = await openOn(disk);
    await pass(2);
    disk.ledgers = 0;
    for (let second = 0; second < 20; second++) {
      for (const text of ['a', 'b', 'c']) await opened.queue.append([recordOf(text)]);
      const leases = await readAll(opened.reader);
      await bury(opened, leases[1]!, [0]);
      for (const lease of leases.toReversed()) lease.settle();
      await pass(1);
    }
    expect(disk.ledgers).toBe(0);
  });

  test('shrinks when all that it tells is behind the position', async () => {
    const { disk, reader } = await queueOf(...Array.from({ length: 50 }, (_, index) => `${index}`));
    const leases = await readAll(reader);
    for (const [index, lease] of leases.entries()) if (index % 2 === 1) lease.settle();
    await pass(6);
    const large = disk.files().get(LEDGER)!.length;
    expect(large).toBeGreaterThan(200);
    for (const lease of leases) lease.settle();
    await disk.open(LEDGER);
    await pass(10);
    expect(disk.files().get(LEDGER)!.length).toBeLessThan(60);
  });

  test('goes on to tell of what the reader has not come to yet', async () => {
    const { disk, queue, reader } = await queueOf('open', 'b', 'c', 'd');
    const [, b, c, d] = await readAll(reader);
    b!.settle();
    c!.done([1]);
    d!.settle();
    await queue.close();
    // A run that reads the first alone.
    const second = await openOn(disk);
    const open = await second.reader.next();
    open!.done([0]);
    await second.queue.close();
    const { records } = await sentBy(disk);
    expect(records).toEqual([
      { text: 'open', spans: [1, 2] },
      { text: 'c', spans: [0, 2] },
    ]);
  });

  test('that is lost or damaged costs repetition, and what letters tell is still known', async () => {
    const opened = await queueOf('open', 'delivered', 'c', 'd');
    const [, delivered, c, d] = await readAll(opened.reader);
    delivered!.settle();
    await bury(opened, c!, [1]);
    await bury(opened, d!);
    await opened.queue.close();
    const expected = [all('open'), all('delivered'), { text: 'c', spans: [0, 2] }];
    expect((await sentBy(killed(opened.disk, [LEDGER]))).records).toEqual(expected);
    const disk = killed(opened.disk);
    disk.change(LEDGER, (bytes) => bytes.fill(7, 40));
    const { records, lines } = await sentBy(disk);
    expect(records).toEqual(expected);
    expect(lines).toContainEqual(
      expect.objectContaining({
        file: LEDGER,
        msg: expect.stringMatching(/ledger .* is damaged/) as unknown,
      }),
    );
  });

  test('that cannot be written keeps a letter from being removed, and nothing else from going on', async () => {
    const disk = new MemoryDisk();
    const failing = new FailingDisk(disk, [
      { call: 'create', path: LEDGER, nth: 1, lasts: true, code: 'EIO', effect: 'none' },
    ]);
    const opened = await openOn(failing);
    await opened.queue.append([recordOf('a')]);
    const [a] = await readAll(opened.reader);
    await bury(opened, a!, [0]);
    const [letter] = await lettersIn(DIRECTORY, disk);
    const request = { action: 'discard', segment: letter!.segment, ids: [letter!.meta.id] } as const;
    expect(await opened.queue.letterDesk.carryOut(request)).toMatchObject({
      letters: 0,
      stopped: expect.stringContaining('EIO') as unknown,
    });
    expect((await sentBy(killed(disk))).records).toEqual([{ text: 'a', spans: [1, 2] }]);
    failing.heal();
    expect(await opened.queue.letterDesk.carryOut(request)).toMatchObject({ letters: 1 });
    expect((await sentBy(killed(disk))).records).toEqual([{ text: 'a', spans: [1, 2] }]);
  });

  test.each([
    { settles: ['open'], left: ['e'] },
    { settles: ['open', 'b'], left: ['e'] },
    { settles: ['open', 'b', 'c', 'd'], left: ['e'] },
    { settles: ['open', 'b', 'c', 'd', 'e'], left: [] },
  ])(
    'stays true while a previous release, which passes over it, settles $settles',
    async ({ settles, left }) => {
      const { disk, queue, reader } = await queueOf('open', 'b', 'c', 'd', 'e');
      const leases = await readAll(reader);
      for (const lease of leases.slice(1, 4)) lease.settle();
      await queue.close();
      const ledger = disk.files().get(LEDGER)!;

      const previous = killed(disk, [LEDGER]);
      const old = await openOn(previous);
      for (const lease of await readAll(old.reader)) if (settles.includes(textOf(lease))) lease.settle();
      await old.queue.close();
      const files = new Map([...killed(previous, [LEDGER]).files(), [LEDGER, ledger]]);
      const { records } = await sentBy(new MemoryDisk(files));
      expect(records).toEqual(left.map(all));
    },
  );

  test('is not needed by the queue of a previous release, whose letters tell nothing', async () => {
    const opened = await queueOf('a', 'b');
    const [a] = await readAll(opened.reader);
    await opened.queue.deadLetters.append([letterOf('a')]);
    a!.settle();
    await pass(1);
    expect((await sentBy(killed(opened.disk, ['.ledger']))).records).toEqual([all('b')]);
  });
});

test('a record that ended the relay twice counts as whole, as its letter does, until it has one', async () => {
  const { disk, reader } = await queueOf('open', 'deadly');
  const [, deadly] = await readAll(reader);
  deadly!.done([1]);
  deadly!.inHand();
  await pass(6);
  const once = killed(disk);
  const second = await openOn(once);
  const [, again] = await readAll(second.reader);
  expect([...again!.left!]).toEqual([1]);
  again!.inHand();
  const twice = killed(once);
  // Since the first of these ends it is written which record is in hand.
  (await readAll((await openOn(twice)).reader))[1]!.inHand();
  const thrice = killed(twice);
  const { queue, leases, records } = await sentBy(thrice);
  expect(records).toEqual([all('open'), all('deadly')]);
  expect(leases[1]?.isSuspect).toBe(true);
  await queue.deadLetters.append([{ ...letterOf('deadly'), ...leases[1]!.leave() }]);
  expect((await sentBy(killed(thrice))).records).toEqual([all('open')]);
});
