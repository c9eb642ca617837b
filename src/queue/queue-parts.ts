import { join } from 'node:path';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { LETTERS_SHARE } from './admission.ts';
import { DeadLetterStore } from './dead-letters.ts';
import type { FileSystem } from './filesystem.ts';
import { LogContent } from './frame.ts';
import { lettersDirectory } from './letter-reader.ts';
import type { RecordMeta } from './loan.ts';
import { observeLog } from './observer.ts';
import { Readers, highestMark, highestSegment, leftBefore, lowestMark, openPositions } from './readers.ts';
import { Reserve, needRoom, reserveSizeOf } from './reserve.ts';
import { SegmentLog } from './segment-log.ts';
import { segmentSizeOf } from './segment-size.ts';
import { countRecord } from './waiting-spans.ts';

export type QueueOptions = {
  readonly directory: string;
  /** For the segments of waiting records; a quarter more may be taken by dead letters. */
  readonly maxBytes: number;
  readonly destinations: readonly string[];
  /** Most of a destination's records, in bytes, that a crash may bring again. */
  readonly maxRepeatedBytes?: number;
  readonly fs?: FileSystem;
  /** Keeps others out of the directory; returns what lets them in again. */
  readonly lock?: (directory: string) => () => void;
};

export type Deps = { readonly log: Logger; readonly metrics: Metrics };

export type OpenParts = {
  readonly log: SegmentLog<RecordMeta>;
  readonly deadLetters: DeadLetterStore;
  readonly readers: Readers;
  readonly reserve: Reserve;
};

/**
 * Opens what a queue is made of: its positions, its log, its dead letters, which tell what has left the log with them, and
 * the readers, which begin behind all that.
 *
 * @param onMuchSettled positions should be saved before their time
 */
export async function openParts(
  options: QueueOptions,
  fs: FileSystem,
  deps: Deps,
  onMuchSettled: () => void,
): Promise<OpenParts> {
  const { directory, maxBytes, destinations, maxRepeatedBytes = Infinity } = options;
  const opened: { close(): Promise<void> }[] = [];
  const keep = <T extends { close(): Promise<void> }>(closable: T): T => {
    opened.push(closable);
    return closable;
  };
  let readers: Readers | undefined;
  try {
    const reserve = await Reserve.open(fs, directory, reserveSizeOf(maxBytes));
    const positions = await openPositions(fs, directory, deps.log);
    const files = [...positions.files.values()].map(keep);
    const log = keep(
      await SegmentLog.open<RecordMeta>({
        fs,
        directory: join(directory, 'segments'),
        content: LogContent.queue,
        maxBytes,
        idsAbove: highestSegment(positions),
        beforeSegment: () => needRoom(fs, directory, segmentSizeOf(maxBytes)),
        count: countRecord,
        observer: observeLog(deps, 'queue'),
      }),
    );
    const before = leftBefore(positions, log);
    const deadLetters = keep(
      await DeadLetterStore.open({
        fs,
        directory: lettersDirectory(directory),
        maxBytes: Math.floor(maxBytes * LETTERS_SHARE),
        room: () => maxBytes * (1 + LETTERS_SHARE) - log.bytes,
        reserve,
        observer: observeLog(deps, 'dead letters'),
        mark: lowestMark(positions),
        idsAbove: highestMark(positions),
        onFound: ({ destination, origins = [] }) => {
          for (const origin of origins) before.get(destination)?.add(origin);
        },
        beforeRemoval: async () => readers?.catchUp(),
      }),
    );
    opened.splice(0, files.length); // they belong to the readers from here on
    readers = await Readers.open({
      fs,
      log,
      positions,
      before,
      mark: () => deadLetters.mark,
      destinations,
      maxRepeatedBytes,
      onMuchSettled,
      logger: deps.log,
    });
    return { log, deadLetters, readers, reserve };
  } catch (error) {
    for (const closable of opened) await closable.close().catch(() => {});
    throw error;
  }
}
