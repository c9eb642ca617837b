import { describe, expect, test, vi } from 'vitest';
import { carryOut, letterOf, lettersIn } from './letters.ts';
import { open, record, temporaryDirectory } from './support.ts';

const from = (sender: string) => ({ ...record('new'), sender });

const original = (text: string, bytes = 10_000) =>
  letterOf(text, { sender: 'a', bytes, repaired: 'cut', spanCount: 2 });
const metas = async (directory: string) => (await lettersIn(directory)).map(({ meta }) => meta);

const isOriginal = ({ repaired }: { repaired: string | undefined }) => repaired !== undefined;

describe('the quota of a sender', () => {
  const MAX = 4 * 1024 * 1024;
  const QUOTA = MAX / 16;

  test('holds that sender and no other, until its letters are fewer', async () => {
    const directory = await temporaryDirectory();
    const { queue, close } = await open(directory, { maxBytes: MAX });
    await queue.deadLetters.append([letterOf('x', { sender: 'a', bytes: QUOTA - 10_000 })]);
    await queue.deadLetters.append([letterOf('y', { sender: 'b', bytes: 10_000 })]);
    expect(await queue.append([from('a')])).toBe('stored');
    expect(queue.status().heldSenders).toEqual([]);
    await queue.deadLetters.append([letterOf('z', { sender: 'a', bytes: 12_000 })]);
    expect(await queue.append([from('a')])).toBe('sender_held');
    expect(await queue.append([from('b')])).toBe('stored');
    expect(queue.status().heldSenders).toEqual(['a']);
    await close();

    const again = await open(directory, { maxBytes: MAX });
    expect(await again.queue.append([from('a')])).toBe('sender_held');
    // What it had sent before is kept all the same.
    await again.queue.deadLetters.append([letterOf('more', { sender: 'a', bytes: QUOTA })]);
    // A replay is not kept out.
    const letters = (await lettersIn(directory)).filter(({ meta }) => meta.sender === 'a');
    const [small, ...rest] = letters.toReversed();
    expect(await carryOut(again.queue, 'replay', [small!])).toMatchObject({ letters: 1, stopped: undefined });
    expect(again.queue.status().heldSenders).toEqual(['a']);
    await carryOut(again.queue, 'discard', rest);
    expect(again.queue.status().heldSenders).toEqual([]);
    expect(await again.queue.append([from('a')])).toBe('stored');
  });

  test('is not used up by letters of whole traces, which are no fault of a sender', async () => {
    const directory = await temporaryDirectory();
    const { queue, close } = await open(directory, { maxBytes: MAX });
    const letter = letterOf('x', { sender: 'a', bytes: QUOTA, spanCount: 3, isOfTrace: true });
    await queue.deadLetters.append([letter]);
    expect(queue.status().heldSenders).toEqual([]);
    await close();

    const again = await open(directory, { maxBytes: MAX });
    expect(again.queue.status().heldSenders).toEqual([]);
    expect(await again.queue.append([from('a')])).toBe('stored');
    expect(again.queue.deadLetters.status().spans).toEqual({ mlflow: 3 });
    await carryOut(again.queue, 'discard', await lettersIn(directory));
    expect(again.queue.deadLetters.status().spans).toEqual({});
  });

  test('a destination may hold a sender for reasons of its own', async () => {
    const { queue } = await open(await temporaryDirectory(), { destinations: ['mlflow', 'other'] });
    queue.reader('other').heldSenders = new Set(['a']);
    expect([await queue.append([from('a')]), await queue.append([from('b')])]).toEqual([
      'sender_searched',
      'stored',
    ]);
    expect(queue.status().heldSenders).toEqual(['a']);
    queue.reader('other').heldSenders = new Set();
    expect(await queue.append([from('a')])).toBe('stored');
  });

  test('letters that take all the room there is can be replayed as far as the queue itself has room', async () => {
    const directory = await temporaryDirectory();
    const maxBytes = 1024 * 1024;
    const { queue } = await open(directory, { maxBytes });
    const bury = () => queue.deadLetters.append([letterOf('x', { sender: 'a', bytes: 20_000 })]);
    await expect(
      (async () => {
        for (let i = 0; i < 100; i++) await bury();
      })(),
    ).rejects.toThrow('have reached their limit');
    expect(await queue.append([from('b')])).toBe('full');
    const letters = await lettersIn(directory);
    expect(letters.length).toBeGreaterThan(60);

    const first = await carryOut(queue, 'replay', letters.slice(0, 30));
    expect(first).toMatchObject({ letters: 30, stopped: undefined });
    expect(await lettersIn(directory)).toHaveLength(letters.length - 30);
    const rest = await carryOut(queue, 'replay', letters.slice(30));
    expect(rest.stopped).toMatch(/the queue is .*; try again when/);
    expect(queue.status().bytes).toBeGreaterThan(maxBytes * 0.85);
    expect(queue.status().bytes).toBeLessThan(maxBytes);
  });

  test('letters go beyond their quarter as long as the queue leaves room, and the queue takes less meanwhile', async () => {
    const directory = await temporaryDirectory();
    const maxBytes = 1024 * 1024;
    const { queue } = await open(directory, { maxBytes });
    let letters = 0;
    const bury = () => queue.deadLetters.append([letterOf('x', { sender: 'a', bytes: 20_000 })]);
    while (queue.deadLetters.status().bytes < maxBytes / 2) {
      await bury();
      letters++;
    }
    expect(letters).toBeGreaterThan(20);
    let stored = 0;
    const send = () => queue.append([{ ...record('y', { bytes: 10_000 }), sender: `${stored}` }]);
    while ((await send()) === 'stored') stored++;
    expect(queue.status().bytes).toBeLessThan(maxBytes * 0.76);
    // A letter may be larger than the room that is left, but none is taken beyond it.
    const refused = await (async () => {
      for (let i = 0; i < 20; i++) await bury();
    })().catch((error: Error) => error.message);
    expect(refused).toContain('have reached their limit');
    const sum = queue.deadLetters.status().bytes + queue.status().bytes;
    expect(sum).toBeGreaterThan(maxBytes * 1.2);
    expect(sum).toBeLessThan(maxBytes * 1.25 + 25_000);
  });
});

describe('originals of what was delivered repaired', () => {
  const MAX = 4 * 1024 * 1024;
  const MOST = MAX / 16;
  test('do not count for the quota of their sender', async () => {
    const directory = await temporaryDirectory();
    const { queue, close } = await open(directory, { maxBytes: MAX });
    await queue.deadLetters.append(Array.from({ length: 30 }, (_, at) => original(String(at))));
    expect(queue.deadLetters.status().originalBytes).toBeGreaterThan(MOST);
    expect(await queue.append([from('a')])).toBe('stored');
    expect(queue.status().heldSenders).toEqual([]);
    await close();
    const again = await open(directory, { maxBytes: MAX });
    expect(again.queue.deadLetters.status().originalBytes).toBeGreaterThan(MOST);
    expect(await again.queue.append([from('a')])).toBe('stored');
  });

  test('make room for newer ones, the oldest first, and no other letter does', async () => {
    const directory = await temporaryDirectory();
    const { queue, metrics, logged, close } = await open(directory, { maxBytes: MAX });
    for (let at = 0; at < 60; at++) {
      await queue.deadLetters.append([original(`${at} `), letterOf(`kept ${at}`, { sender: 'b' })]);
    }
    const before = await metas(directory);
    await queue.letterDesk.dropOldOriginals();
    const after = await metas(directory);
    const { originalBytes, maxOriginalBytes, spans } = queue.deadLetters.status();
    expect(maxOriginalBytes).toBe(MOST);
    expect(originalBytes).toBeLessThan(MOST);
    expect(originalBytes).toBeGreaterThan(MOST * 0.75);

    expect(after.filter((meta) => !isOriginal(meta))).toHaveLength(60);
    const left = after.filter(isOriginal);
    expect(left).toEqual(before.filter(isOriginal).slice(-left.length));

    const dropped = 2 * (60 - left.length);
    expect(spans).toEqual({ mlflow: 60 + 2 * left.length });
    for (const counter of [metrics.droppedOriginalSpans, metrics.discardedSpans])
      expect((await counter.get()).values).toEqual([{ labels: { destination: 'mlflow' }, value: dropped }]);
    expect(logged().filter(({ msg }) => String(msg).includes('the oldest originals'))).toHaveLength(1);

    await queue.letterDesk.dropOldOriginals();
    expect(await metas(directory)).toEqual(after);
    await close();
    expect((await open(directory, { maxBytes: MAX })).queue.deadLetters.status().originalBytes).toBe(
      originalBytes,
    );
  });

  test('make room while letters are replayed and discarded', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory, { maxBytes: MAX });
    await queue.deadLetters.append(Array.from({ length: 40 }, (_, at) => original(`${at} `)));
    const letters = await lettersIn(directory);
    const [replayed, , discarded] = await Promise.all([
      carryOut(queue, 'replay', letters.slice(25, 28)),
      queue.letterDesk.dropOldOriginals(),
      carryOut(queue, 'discard', letters.slice(-3)),
    ]);
    expect([replayed, discarded]).toMatchObject([{ letters: 3 }, { letters: 3 }]);
    const left = await metas(directory);
    expect(queue.deadLetters.status().spans).toEqual({ mlflow: 2 * left.length });
    const others = [...letters.slice(0, 25), ...letters.slice(28, -3)];
    expect(left).toEqual(others.slice(-left.length).map(({ meta }) => meta));
    expect(left.length).toBeLessThan(others.length);
  });

  test('go by themselves, while the queue is open', async () => {
    const directory = await temporaryDirectory();
    const { queue } = await open(directory, { maxBytes: MAX });
    await queue.deadLetters.append(Array.from({ length: 40 }, (_, at) => original(`${at} `)));
    await vi.waitFor(() => expect(queue.deadLetters.status().originalBytes).toBeLessThan(MOST), 10_000);
  });
});
