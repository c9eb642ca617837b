import { RelayError } from '../errors.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { askRunningRelay } from './letter-asking.ts';
import type { Asking } from './letter-asking.ts';
import { lettersDirectory } from './letter-reader.ts';
import type { LetterAnswer, LetterRequest } from './letter-requests.ts';
import { needOwner } from './owner.ts';
import { openQueue } from './segment-queue.ts';

/** Who changes dead letters for a command: this process, or the one that has the queue open, mostly a relay. */
export type LetterWork = {
  /** @throws RelayError QUEUE_UNUSABLE */
  carryOut(request: LetterRequest): Promise<LetterAnswer>;
  close(): Promise<void>;
};

/** @throws RelayError QUEUE_UNUSABLE, QUEUE_FORMAT */
export async function openLetterWork(
  options: { directory: string; maxBytes: number; destinations: readonly string[] },
  how: Pick<Asking, 'interrupted' | 'say'> = {},
): Promise<LetterWork> {
  await needOwner(lettersDirectory(options.directory));
  try {
    // What the queue would log the command says in its own words, or the relay when it starts.
    const queue = await openQueue(options, { log: createLogger('fatal'), metrics: createMetrics() });
    return {
      carryOut: (request) => queue.letterDesk.carryOut(request),
      close: () => queue.close(),
    };
  } catch (error) {
    if (!(error instanceof RelayError) || error.code !== 'QUEUE_LOCKED') throw error;
    return {
      carryOut: (request) => askRunningRelay({ directory: options.directory, ...how }, request),
      close: () => Promise.resolve(),
    };
  }
}
