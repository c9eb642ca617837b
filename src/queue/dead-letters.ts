import { randomUUID } from 'node:crypto';
import { isDiskFull } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';
import { LogContent } from './frame.ts';
import type { DeadLetter, DeadLetters } from './queue.ts';
import type { Reserve } from './reserve.ts';
import { SegmentLog } from './segment-log.ts';
import type { LogObserver } from './log-options.ts';

/** What is written beside a letter's payload. The id names it for good, wherever its bytes are moved. */
type LetterMeta = Omit<DeadLetter, 'payload'> & { readonly id: string };

/**
 * Dead letters in a log of their own. A letter of any size fits while the limit is not reached, and on a full disk as
 * many as there is room in the reserve.
 */
export async function openDeadLetters(options: {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly maxBytes: number;
  readonly reserve: Pick<Reserve, 'release'>;
  readonly observer: LogObserver;
}): Promise<DeadLetters> {
  const { fs, directory, maxBytes, reserve, observer } = options;
  const log = await SegmentLog.open<LetterMeta>({
    fs,
    directory,
    content: LogContent.deadLetters,
    maxBytes,
    mayOvershoot: true,
    idsAbove: 0,
    async beforeSegment(lastError) {
      if (isDiskFull(lastError)) await reserve.release();
    },
    count: ({ destination, spanCount: spans, receivedAt }, bytes, tally) =>
      tally.add(destination, destination, { records: 1, spans, bytes }, receivedAt),
    observer,
  });
  return {
    async append(letters) {
      const outcome = await log.append(
        letters.map(({ payload, ...meta }) => ({ meta: { id: randomUUID(), ...meta }, payload })),
      );
      if (outcome === 'stored') return;
      throw new Error(
        outcome === 'full'
          ? `the dead letters have reached their limit of ${maxBytes} bytes (a quarter of queue.max_size)`
          : `the disk does not take writes in ${directory}`,
      );
    },
    status() {
      const sums = new Map<string, number>();
      for (const { tally } of log.segments) {
        for (const [destination, { spans }] of tally) {
          sums.set(destination, (sums.get(destination) ?? 0) + spans);
        }
      }
      return { spans: Object.fromEntries(sums), bytes: log.bytes, maxBytes };
    },
    close: () => log.close(),
  };
}
