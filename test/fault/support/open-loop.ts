import { setTimeout as pause } from 'node:timers/promises';

/**
 * Sends at a steady rate whatever the answers do, so that a slow one delays no other.
 * @returns how long each took from the moment when it was due, in ms
 */
export async function sendSteadily(
  send: () => Promise<void>,
  { perSecond, seconds }: { perSecond: number; seconds: number },
): Promise<number[]> {
  const startedAt = performance.now();
  const underWay = Array.from({ length: perSecond * seconds }, async (_, index) => {
    const dueAt = startedAt + (index * 1000) / perSecond;
    await pause(Math.max(0, dueAt - performance.now()));
    await send();
    return performance.now() - dueAt;
  });
  return Promise.all(underWay);
}

/** @param share as in 0.99 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
