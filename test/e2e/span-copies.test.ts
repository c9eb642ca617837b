import { afterAll, beforeAll, expect, test } from 'vitest';
import { tryDifferentCopies, tryEqualCopies, tryReplayedCopies } from './support/copies.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

test.each([
  { depth: 8, copies: 4 },
  { depth: 22, copies: 4 },
  { depth: 1000, copies: 2 },
  { depth: 2, copies: 10_000 },
])(
  'a chain of $depth spans that came $copies times is stored once, in one request, with its own tokens',
  async ({ depth, copies }) => {
    const right = { state: 'OK', spans: depth, tokens: 10 };
    expect(await tryEqualCopies(stack, depth, copies)).toEqual({
      statuses: [200],
      first: right,
      last: right,
    });
  },
);

test('a replayed dead letter, and the same span sent again, count once', async () => {
  expect(await tryReplayedCopies(stack)).toEqual({ state: 'OK', spans: 8, tokens: 10 });
});

test.each([
  { sent: ['open', 'ended'] },
  { sent: ['ended', 'open'] },
  { sent: ['open', 'ended', 'open'] },
] as const)('of $sent the ended one is shown, whatever comes in between', async ({ sent }) => {
  for (const isFirstOut of [true, false]) {
    for (const isTakenApart of [true, false]) {
      const shown = await tryDifferentCopies(stack, sent, { isFirstOut, isTakenApart });
      expect({ isFirstOut, isTakenApart, ...shown }).toMatchObject({ state: 'OK', spans: 2, name: 'ended' });
      expect(shown.end).toBeGreaterThan(0n);
    }
  }
});
