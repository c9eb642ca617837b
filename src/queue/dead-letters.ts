import type { FileSystem } from './filesystem.ts';
import type { DeadLetter, DeadLetters } from './queue.ts';
import { SegmentLog } from './segment-log.ts';
import type { LogObserver } from './segment-log.ts';
import type { Tally } from './segment.ts';

type LetterMeta = Omit<DeadLetter, 'payload'>;

/** Dead letters in a log of their own. */
export async function openDeadLetters(
  fs: FileSystem,
  directory: string,
  maxBytes: number,
  observer: LogObserver,
): Promise<DeadLetters> {
  const log = await SegmentLog.open<LetterMeta>({
    fs,
    directory,
    maxBytes,
    idsAbove: 0,
    count: countByDestination,
    observer,
  });
  return {
    async append(letters) {
      const outcome = await log.append(letters.map(({ payload, ...meta }) => ({ meta, payload })));
      if (outcome === 'stored') return;
      throw new Error(
        outcome === 'full'
          ? `the dead letters have reached their limit of ${maxBytes} bytes (a quarter of queue.max_size)`
          : `the disk does not take writes in ${directory}`,
      );
    },
    status() {
      const spans: Tally = {};
      for (const { tally } of log.segments) {
        for (const [destination, count] of Object.entries(tally)) {
          spans[destination] = (spans[destination] ?? 0) + count;
        }
      }
      return { spans, bytes: log.bytes };
    },
    close: () => log.close(),
  };
}

function countByDestination(meta: LetterMeta, tally: Tally): void {
  tally[meta.destination] = (tally[meta.destination] ?? 0) + meta.spanCount;
}
