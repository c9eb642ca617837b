import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BodyRoom } from '../../src/receiver/body-room.ts';
import type { Hold } from '../../src/receiver/body-room.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A body of which so much came, now. */
function arriving(room: BodyRoom, sender: string, bytes: number, evicted: string[], name: string): Hold {
  const hold = room.hold(sender);
  hold.mayBeEvicted('arriving', () => evicted.push(name));
  expect(hold.take(bytes)).toBe(true);
  hold.cameIn(bytes);
  return hold;
}

describe('one sender', () => {
  test('may have most of the room, and what it gives back can be taken again', () => {
    const room = new BodyRoom(1000);
    const hold = room.hold('a');
    expect(hold.take(850)).toBe(true);
    expect(room.hold('a').take(100)).toBe(true);
    expect(room.hold('a').take(10)).toBe(false);
    expect(hold.resize(100)).toBe(true);
    expect(hold.bytes).toBe(100);
    expect(room.hold('a').take(700)).toBe(true);
    hold.release();
    hold.release();
    expect(room.hold('a').take(100)).toBe(true);
  });

  test('its new bodies take the place of those that stand still, and of no others', () => {
    const room = new BodyRoom(1000);
    const evicted: string[] = [];
    const still = arriving(room, 'a', 460, evicted, 'still');
    vi.advanceTimersByTime(20_000);
    const moving = arriving(room, 'a', 460, evicted, 'moving');
    const fresh = room.hold('a');
    expect(fresh.take(50)).toBe(true);
    expect(evicted).toEqual(['still']);
    expect(still.bytes).toBe(0);
    expect(room.hold('a').take(450)).toBe(true);
    expect(room.hold('a').take(50)).toBe(false);
    expect(moving.bytes).toBe(460);
    expect(evicted).toEqual(['still']);
  });
});

describe('several senders', () => {
  test('the last tenth is not for the one that has the rest', () => {
    const room = new BodyRoom(1000);
    expect(room.hold('a').take(910)).toBe(true);
    expect(room.hold('a').take(1)).toBe(false);
    expect(room.hold('b').take(90)).toBe(true);
  });

  test('where there is no room, the slowest body of one above its share goes', () => {
    const room = new BodyRoom(1000);
    const evicted: string[] = [];
    arriving(room, 'a', 300, evicted, 'first');
    vi.advanceTimersByTime(1000);
    const slow = arriving(room, 'a', 300, evicted, 'slow');
    vi.advanceTimersByTime(5000);
    arriving(room, 'a', 300, evicted, 'fast').cameIn(300);
    // Of the first more came just now.
    room.hold('b').take(50);
    slow.cameIn(0);
    expect(room.hold('b').take(200)).toBe(true);
    expect(evicted).toEqual(['first']);
    expect(room.hold('b').take(90)).toBe(true);
    expect(evicted).toEqual(['first']);
  });

  test('bodies that wait for a thread go after those that arrive, bodies that are worked on never', () => {
    const room = new BodyRoom(1000);
    const evicted: string[] = [];
    const worked = arriving(room, 'a', 400, evicted, 'worked');
    worked.mayStay();
    const waiting = arriving(room, 'a', 300, evicted, 'waiting');
    waiting.mayBeEvicted('waiting', () => evicted.push('waiting'));
    arriving(room, 'a', 300, evicted, 'arriving');
    expect(room.hold('b').take(300)).toBe(true);
    expect(evicted).toEqual(['arriving']);
    expect(room.hold('c').take(200)).toBe(true);
    expect(evicted).toEqual(['arriving', 'waiting']);
    expect(room.hold('d').take(190)).toBe(false);
    expect(evicted).toEqual(['arriving', 'waiting']);
    expect(worked.bytes).toBe(400);
  });

  test('who is above its share moves nobody', () => {
    const room = new BodyRoom(1000);
    const evicted: string[] = [];
    arriving(room, 'a', 450, evicted, 'a');
    arriving(room, 'b', 460, evicted, 'b');
    expect(room.hold('b').take(100)).toBe(false);
    expect(evicted).toEqual([]);
  });

  test('property: never more than there is, and who is within its share finds room where bodies can go', () => {
    const step = fc.record({
      sender: fc.constantFrom('a', 'b', 'c'),
      bytes: fc.integer({ min: 1, max: 500 }),
      release: fc.boolean(),
      wait: fc.integer({ min: 0, max: 5000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const room = new BodyRoom(1000);
        const holds: Hold[] = [];
        const taken = (sender?: string) =>
          holds
            .filter((hold) => sender === undefined || hold.sender === sender)
            .reduce((sum, { bytes }) => sum + bytes, 0);
        for (const { sender, bytes, release, wait } of steps) {
          vi.advanceTimersByTime(wait);
          const hold = room.hold(sender);
          holds.push(hold);
          const senders = new Set(holds.filter((each) => each.bytes > 0).map((each) => each.sender));
          const share = 1000 / (senders.add(sender).size + 1);
          const isWithin = taken(sender) + bytes <= share;
          hold.mayBeEvicted('arriving', () => {});
          const isTaken = hold.take(bytes);
          if (isTaken) hold.cameIn(bytes);
          expect(isTaken || !isWithin).toBe(true);
          expect(taken()).toBeLessThanOrEqual(1000);
          if (release) holds.shift()?.release();
        }
        for (const hold of holds) hold.release();
        expect(room.hold('d').take(1000)).toBe(true);
      }),
    );
  });
});
