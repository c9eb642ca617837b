import { onTestFinished } from 'vitest';

/** Counts, in this process and until the end of the test, by the turn of the event loop in which something happens. */
export function countByTurn() {
  let turn = 0;
  let next = setImmediate(count);
  function count(): void {
    turn += 1;
    next = setImmediate(count);
  }
  onTestFinished(() => clearImmediate(next));
  const counts = new Map<number, number>();
  return {
    add: () => void counts.set(turn, (counts.get(turn) ?? 0) + 1),
    reset: () => counts.clear(),
    most: () => Math.max(0, ...counts.values()),
  };
}

/** Node accepts a connection or a few in each turn: by the end of so many, some hundred are accepted. */
export async function manyTurns(): Promise<void> {
  for (let i = 0; i < 1000; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Longer than a turn of the event loop may read. */
const LONG_MS = 12;

export function takeLong(): void {
  const end = performance.now() + LONG_MS;
  while (performance.now() < end);
}
