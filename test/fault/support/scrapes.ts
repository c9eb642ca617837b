import { setTimeout as pause } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { accountIn, sumOf } from '../../e2e/support/relay.ts';
import type { Account } from '../../e2e/support/relay.ts';
import type { RelayProcess } from '../../stack/relay-process.ts';

export type Scrapes = {
  /** Of those that were answered, how many told of a moment in which something had come since the one before. */
  count(): number;
  /** Those whose sum was off, with what they said. */
  readonly unbalanced: readonly { destination: string; off: number; account: Account }[];
  stop(): Promise<void>;
};

/** Not all the time: others have work to do as well. */
const EVERY_MS = 5;

/** Reads the metrics again and again while the relay runs, and looks whether each account holds. */
export function startScraping(relay: RelayProcess, destinations: readonly string[]): Scrapes {
  const unbalanced: { destination: string; off: number; account: Account }[] = [];
  const stopping = new AbortController();
  onTestFinished(() => stopping.abort());
  let count = 0;
  let last = '';

  function look(metrics: ReadonlyMap<string, number>): void {
    const accounts = destinations.map((destination) => ({
      destination,
      account: accountIn(metrics, destination),
    }));
    const now = JSON.stringify(accounts);
    if (now !== last) count++;
    last = now;
    for (const { destination, account } of accounts) {
      const off = sumOf(account) - account.accepted - account.recovered;
      if (off !== 0) unbalanced.push({ destination, off, account });
    }
  }

  const running = (async () => {
    while (!stopping.signal.aborted) {
      // It is killed every now and then.
      const metrics = await relay.metrics().catch(() => undefined);
      if (metrics !== undefined) look(metrics);
      await pause(EVERY_MS);
    }
  })();
  return {
    count: () => count,
    unbalanced,
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
