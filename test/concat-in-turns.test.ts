import { expect, test } from 'vitest';
import { concatInTurns } from '../src/concat-in-turns.ts';

const MIB = 1024 * 1024;

test.each([
  ['none', [], 0],
  ['small ones', ['ab', '', 'cde'], 5],
  ['less than all of them', ['ab', 'cde'], 3],
  ['large ones', ['a'.repeat(3 * MIB + 5), 'b', 'c'.repeat(MIB)], 4 * MIB + 6],
  ['less than all of large ones', ['a'.repeat(MIB), 'b'.repeat(3 * MIB)], 2 * MIB + 1],
])('%s are joined', async (_, texts, size) => {
  const chunks = texts.map((text) => Buffer.from(text));
  const all = await concatInTurns(chunks, size);
  expect(all.equals(Buffer.concat(chunks, size))).toBe(true);
});

test('others have a turn for each MiB', async () => {
  let turns = 0;
  let turn = setImmediate(function next() {
    turns += 1;
    turn = setImmediate(next);
  });
  const chunks = [Buffer.alloc(5 * MIB), ...Array.from({ length: 80 }, () => Buffer.alloc(MIB / 16))];
  await concatInTurns(chunks, 10 * MIB);
  clearImmediate(turn);
  expect(turns).toBeGreaterThanOrEqual(9);
});
