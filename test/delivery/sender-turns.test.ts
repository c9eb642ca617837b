import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SenderTurns } from '../../src/delivery/sender-turns.ts';

const KIB = 1024;

/** Takes things one by one, each of so many bytes, as long as there are some. */
function order(turns: SenderTurns<number>, count: number, mayGo = (_sender: string) => true): string[] {
  const senders: string[] = [];
  for (let taken = 0; taken < count; taken++) {
    const line = turns.next(mayGo);
    if (line === undefined) break;
    turns.sent(line.sender, turns.shift(line)!);
    senders.push(line.sender);
  }
  return senders;
}

function turnsOf(ready: Readonly<Record<string, readonly number[]>>): SenderTurns<number> {
  const turns = new SenderTurns<number>();
  for (const [sender, sizes] of Object.entries(ready)) for (const size of sizes) turns.push(sender, size);
  return turns;
}

describe('turns of senders', () => {
  test('who sends little need not wait for who sends much', () => {
    const turns = turnsOf({ large: [5000 * KIB, 5000 * KIB], small: [KIB, KIB, KIB] });
    expect(order(turns, 9)).toEqual(['large', 'small', 'small', 'small', 'large']);
    expect(turns.isEmpty).toBe(true);
  });

  test('who comes while another has its turn need not wait for its end', () => {
    const turns = turnsOf({ large: Array.from({ length: 50 }, () => 100 * KIB) });
    expect(order(turns, 3)).toEqual(['large', 'large', 'large']);
    turns.push('small', KIB);
    expect(order(turns, 2)).toContain('small');
  });

  test('who had nothing ready has no claim on that time, and others no debt for it', () => {
    const turns = turnsOf({ busy: [500 * KIB, 500 * KIB, 500 * KIB] });
    order(turns, 2);
    for (let count = 0; count < 20; count++) turns.push('late', 100 * KIB);
    turns.push('busy', 100 * KIB);
    // Not twenty before the other has its turn.
    expect(order(turns, 22).indexOf('busy')).toBeLessThan(8);
  });

  test('who may not go is passed over', () => {
    const turns = turnsOf({ a: [1], b: [1] });
    expect(order(turns, 9, (sender) => sender !== 'a')).toEqual(['b']);
    expect(turns.lineOf('a')?.items.first?.value).toBe(1);
    expect(turns.lineOf('b')).toBeUndefined();
  });

  test('who may go again takes part, whatever turn was begun without it', () => {
    const turns = turnsOf({ a: Array.from({ length: 50 }, () => 100 * KIB), b: [KIB] });
    order(turns, 3, (sender) => sender !== 'b');
    turns.endTurn();
    expect(order(turns, 3)).toContain('b');
  });

  test('property: of those that always have something, none gets much more than another', () => {
    const sizes = fc.integer({ min: 1, max: 200 * KIB });
    const senders = fc.dictionary(fc.string(), fc.array(sizes, { minLength: 300, maxLength: 300 }), {
      minKeys: 2,
      maxKeys: 4,
    });
    fc.assert(
      fc.property(senders, (ready) => {
        const turns = turnsOf(ready);
        const sent = new Map<string, number>();
        for (let taken = 0; taken < 200; taken++) {
          const line = turns.next(() => true)!;
          const bytes = turns.shift(line)!;
          turns.sent(line.sender, bytes);
          sent.set(line.sender, (sent.get(line.sender) ?? 0) + bytes);
        }
        const amounts = Object.keys(ready).map((sender) => sent.get(sender) ?? 0);
        expect(Math.max(...amounts) - Math.min(...amounts)).toBeLessThanOrEqual(2 * (64 + 200) * KIB);
      }),
      { numRuns: 50 },
    );
  });
});
