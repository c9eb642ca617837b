import { afterEach, beforeEach, vi } from 'vitest';

/** Timers of the tests in this file go by `pass` alone. */
export function useFakeTimers(): void {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}

export async function pass(seconds: number): Promise<void> {
  for (let i = 0; i < seconds; i++) {
    await vi.advanceTimersByTimeAsync(1000);
    // Whatever the timers have begun: a disk in memory answers at once.
    await new Promise((resolve) => setImmediate(resolve));
  }
}
