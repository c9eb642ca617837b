import { array, assert, constantFrom, integer, oneof, property, record } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FairPool } from '../src/fair-pool.ts';

/** A pool in which each of these holders has its items, `a1`, `a2` and so on of `a`. */
function filled(maxSize: number, holders: Readonly<Record<string, number>>) {
  const pool = new FairPool<string>(() => maxSize);
  for (const [name, count] of Object.entries(holders)) {
    for (let i = 1; i <= count; i += 1) pool.add(`${name}${i}`, name);
  }
  return pool;
}

describe('with all places taken, a new one gets the place of', () => {
  test('nobody while there is one', () => {
    const pool = filled(3, { a: 2 });
    expect(pool.add('b1', 'b')).toBeUndefined();
    expect([pool.size, pool.sizeOf('a'), pool.sizeOf('b'), pool.sizeOf('c')]).toEqual([3, 2, 1, 0]);
  });

  test('the longest idle one of whoever has most', () => {
    const pool = filled(5, { a: 2, b: 3 });
    expect(pool.add('c1', 'c')).toBe('b1');
    pool.begin('b2');
    pool.end('b2');
    pool.remove('a1');
    pool.add('c2', 'c');
    pool.remove('a2');
    pool.add('b4', 'b');
    expect(pool.add('d1', 'd')).toBe('b3');
    expect(pool.size).toBe(5);
  });

  test('another one of its own holder, where that has most', () => {
    const pool = filled(5, { a: 1, b: 4 });
    expect(pool.add('b5', 'b')).toBe('b1');
    expect(pool.sizeOf('b')).toBe(4);
  });

  test('one that is idle, though others have more that are busy', () => {
    const pool = filled(5, { a: 2, b: 3 });
    for (const item of ['b1', 'b2', 'b3']) pool.begin(item);
    expect(pool.add('c1', 'c')).toBe('a1');
  });

  test('the longest busy one of whoever has most, where none is idle', () => {
    const pool = filled(4, { a: 1, b: 3 });
    for (const item of ['b2', 'b1', 'b3', 'a1']) pool.begin(item);
    expect(pool.add('c1', 'c')).toBe('b2');
  });

  test('one that is idle again only once all that was in hand for it is over', () => {
    const pool = filled(2, { a: 2 });
    for (const item of ['a1', 'a1', 'a2']) pool.begin(item);
    pool.end('a1');
    expect(pool.add('a3', 'a')).toBe('a3');
    pool.end('a1');
    expect(pool.add('a3', 'a')).toBe('a1');
  });

  test('nobody where its holder has as many, all busy: it gets none itself', () => {
    const pool = filled(4, { a: 2, b: 2 });
    for (const item of ['a1', 'a2', 'b1', 'b2']) pool.begin(item);
    expect(pool.add('a3', 'a')).toBe('a3');
    expect(pool.add('b3', 'b')).toBe('b3');
    expect(pool.size).toBe(4);
  });

  test('nobody who would be smaller than its own holder by that', () => {
    const pool = filled(5, { a: 3, b: 2 });
    for (const item of ['a1', 'a2', 'a3', 'b1', 'b2']) pool.begin(item);
    expect(pool.add('b3', 'b')).toBe('b3');
  });

  test('nobody smaller than its own holder', () => {
    const pool = filled(4, { a: 3, b: 1 });
    for (const item of ['a1', 'a2', 'a3']) pool.begin(item);
    expect(pool.add('a4', 'a')).toBe('a4');
  });
});

test('who has less than an equal share gets in again and again, and takes nothing from others that have', () => {
  const pool = filled(10, { a: 9, h: 1 });
  for (let i = 1; i <= 9; i += 1) pool.begin(`a${i}`);
  expect(pool.add('c1', 'c')).toBe('a1');
  expect(pool.sizeOf('h')).toBe(1);
  for (let i = 2; i <= 10; i += 1) {
    pool.add(`h${i}`, 'h');
    pool.add(`c${i}`, 'c');
  }
  expect(['a', 'h', 'c'].map((name) => pool.sizeOf(name))).toEqual([4, 3, 3]);
  expect(pool.add('a10', 'a')).toBe('a10');
});

test('what has lost its place, or never had one, changes nothing any more', () => {
  const pool = filled(1, { a: 1 });
  pool.remove('x');
  pool.begin('x');
  pool.end('x');
  pool.end('a1');
  expect(pool.add('b1', 'b')).toBe('a1');
  pool.begin('a1');
  pool.remove('a1');
  expect([pool.size, pool.sizeOf('a'), pool.sizeOf('b')]).toEqual([1, 0, 1]);
});

test('one holder with all places but one keeps nobody out, whoever comes and however often', () => {
  const pool = filled(4096, { greedy: 4095 });
  for (let i = 0; i < 4000; i += 1) {
    expect(pool.add(`other ${i}`, `other ${i}`) ?? 'greedy').toMatch(/^greedy/);
    expect(pool.add(`greedy again ${i}`, 'greedy')).toMatch(/^greedy/);
  }
  expect(pool.sizeOf('greedy')).toBe(96);
});

/** The places in a plain list, and what is promised of them. */
type Place = { readonly holder: string; readonly item: number; inHand: number; since: number };
const MAX_SIZE = 10;
const NAMES = ['a', 'b', 'c', 'd'] as const;

/** What is wrong with who lost a place to a new one of this holder; undefined: nothing. */
function wrongLoser(places: readonly Place[], name: string, item: number, loser: number | undefined) {
  const isIdle = ({ inHand }: Place) => inHand === 0;
  const sizeOf = (holder: string) => places.filter((place) => place.holder === holder).length;
  if (places.length < MAX_SIZE) return loser === undefined ? undefined : 'there was a free place';
  if (loser === undefined) return 'more than there is place for';

  const own = sizeOf(name);
  const share = MAX_SIZE / new Set([name, ...places.map(({ holder }) => holder)]).size;
  const largest = Math.max(...places.map(({ holder }) => sizeOf(holder)));
  /** Sizes of holders that have to give an idle one. */
  const givingIdle = places
    .filter((place) => isIdle(place) && sizeOf(place.holder) > share && sizeOf(place.holder) > own)
    .map(({ holder }) => sizeOf(holder));
  const ownIdle = places.some((place) => place.holder === name && isIdle(place));
  if (loser === item) {
    if (own < Math.floor(share)) return 'less than a share, and not taken';
    return givingIdle.length > 0 || ownIdle || largest > own + 1 ? 'it was not taken' : undefined;
  }
  const lost = places.find((place) => place.item === loser)!;
  const size = sizeOf(lost.holder);
  if (lost.holder === name) {
    if (own < Math.floor(share)) return 'less than a share, and lost one of its own';
    if (!isIdle(lost) || givingIdle.length > 0) return 'one of its own that did not have to';
  } else {
    if (size <= share) return 'one of a holder that has no more than its share';
    if (size <= own) return 'one of a holder that is not larger';
    if (!isIdle(lost) && givingIdle.length > 0) return 'a busy one, though there was an idle one';
    if (!isIdle(lost) && ownIdle && own >= Math.floor(share)) return 'a busy one, though its own was idle';
    if (!isIdle(lost) && size <= own + 1) return 'a busy one of a holder that is smaller after it';
    if (size < (isIdle(lost) ? Math.max(...givingIdle) : largest)) return 'not one of the largest';
  }
  const alike = places.filter((place) => place.holder === lost.holder && isIdle(place) === isIdle(lost));
  return lost.since === Math.min(...alike.map(({ since }) => since))
    ? undefined
    : 'the wrong one of its holder';
}

test('whatever happens, it is as full as it may be, and takes from the right one: who has less than a share gets in, and loses nothing', () => {
  const step = oneof(
    record({ add: constantFrom(...NAMES) }),
    record({
      change: constantFrom('begin' as const, 'end' as const, 'remove' as const),
      at: integer({ min: 0, max: MAX_SIZE - 1 }),
    }),
  );
  assert(
    property(array(step, { maxLength: 120, size: 'max' }), (steps) => {
      const pool = new FairPool<number>(() => MAX_SIZE);
      const places: Place[] = [];
      let wrong: string | undefined;
      for (const [time, one] of steps.entries()) {
        if ('add' in one) {
          const loser = pool.add(time, one.add);
          wrong ??= wrongLoser(places, one.add, time, loser);
          if (loser !== undefined && loser !== time) {
            places.splice(
              places.findIndex(({ item }) => item === loser),
              1,
            );
          }
          if (loser !== time) places.push({ holder: one.add, item: time, inHand: 0, since: time });
        } else if (one.at < places.length) {
          const place = places[one.at]!;
          pool[one.change](place.item);
          if (one.change === 'remove') places.splice(one.at, 1);
          if (one.change === 'begin' && (place.inHand += 1) === 1) place.since = time;
          if (one.change === 'end' && place.inHand > 0 && (place.inHand -= 1) === 0) place.since = time;
        }
        expect([wrong, pool.size]).toEqual([undefined, places.length]);
        for (const name of NAMES) {
          expect(pool.sizeOf(name)).toBe(places.filter(({ holder }) => holder === name).length);
        }
      }
    }),
    { numRuns: 500 },
  );
});
