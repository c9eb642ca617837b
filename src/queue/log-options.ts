import type { Damage } from './damage.ts';
import type { FileSystem } from './filesystem.ts';
import type { LogContent } from './frame.ts';
import type { Count } from './recovery.ts';

export type LogOptions<M> = {
  readonly fs: FileSystem;
  /** Folder of the segment files; made if it is not there. */
  readonly directory: string;
  readonly content: LogContent;
  readonly maxBytes: number;
  /** In place of `maxBytes`. One append may go over it: what is larger than all the room there is can still be kept. */
  readonly softLimit?: () => number;
  /**
   * Called before a segment is begun, with the error that ended the last one if there was one; a rejection keeps the
   * log from taking anything until the next try.
   */
  readonly beforeSegment?: (lastError: unknown) => Promise<void>;
  /** Segments get higher ids than this: no position that was ever saved can point into a new one. */
  readonly idsAbove: number;
  readonly count: Count<M>;
  readonly observer: LogObserver;
};

/** What happens inside a log that people outside it want to know. */
export type LogObserver = {
  synced?(seconds: number): void;
  damaged(damage: Damage): void;
  /** A segment of before could not be read or sealed at the start. */
  unread(segment: string, reason: string): void;
  /** A segment was found at the start that is not whole, as it has no footer; so many records in it are. */
  notClosed?(segment: string, records: number): void;
  failing(reason: string): void;
  recovered(): void;
};
