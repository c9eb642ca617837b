import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Notices } from '../telemetry/notice.ts';
import { DestinationReader } from './destination-reader.ts';
import type { RecordMeta } from './destination-reader.ts';
import type { FileSystem } from './filesystem.ts';
import { InHand } from './in-hand.ts';
import { comparePositions } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';
import { tellDamagedPosition } from './observer.ts';
import { PositionFile, positionPath, savedDestinations } from './positions.ts';
import type { SegmentLog } from './segment-log.ts';
import { Unconfigured } from './unconfigured.ts';
import { countFrom } from './waiting-spans.ts';

/** The position files of a queue's folder, opened before its log: no segment may get an id that one of them names. */
export type Positions = {
  readonly directory: string;
  readonly files: Map<string, PositionFile>;
};

/** @throws RelayError QUEUE_FORMAT */
export async function openPositions(fs: FileSystem, queueDirectory: string): Promise<Positions> {
  const directory = join(queueDirectory, 'positions');
  const files = new Map<string, PositionFile>();
  await fs.makeDirectory(directory);
  try {
    for (const name of await savedDestinations(fs, directory)) {
      files.set(name, await PositionFile.open(fs, directory, name));
    }
    await fs.syncDirectory(directory); // of a start that was cut off in between
  } catch (error) {
    for (const file of files.values()) await file.close().catch(() => {});
    throw error;
  }
  return { directory, files };
}

/** Highest id of a segment that a position is in; 0 without any. */
export function highestSegment({ files }: Positions): number {
  return Math.max(0, ...[...files.values()].map(({ saved }) => saved?.segment ?? 0));
}

type ReadersOptions = {
  readonly fs: FileSystem;
  readonly log: SegmentLog<RecordMeta>;
  readonly positions: Positions;
  readonly destinations: readonly string[];
  readonly maxRepeatedBytes: number;
  /** Positions should be saved before their time. */
  readonly onMuchSettled: () => void;
  readonly logger: Logger;
};

type Place = {
  readonly reader: DestinationReader;
  readonly file: PositionFile;
  readonly inHand: InHand;
  readonly recoveredSpans: number;
};

/**
 * Where each destination is in the log, on disk and in memory. One without a saved position is new and starts at the
 * end; where no position was ever saved, all start at the beginning.
 */
export class Readers {
  readonly #logger: Logger;
  readonly #unsaved = new Notices();
  readonly #places: ReadonlyMap<string, Place>;
  readonly unconfigured: Unconfigured;

  private constructor(logger: Logger, places: ReadonlyMap<string, Place>, unconfigured: Unconfigured) {
    this.#logger = logger;
    this.#places = places;
    this.unconfigured = unconfigured;
  }

  /** The files of `positions` are its own from here on, also when it rejects. */
  static async open(options: ReadersOptions): Promise<Readers> {
    const { fs, log, positions, destinations, maxRepeatedBytes, onMuchSettled, logger } = options;
    const { directory, files } = positions;
    const opened: { close(): Promise<void> }[] = [...files.values()];
    try {
      const startOfNew = files.size === 0 ? log.start : log.end;
      const unreadable = new Notices();
      const tellUnreadable = (destination: string, error: unknown) => {
        const times = unreadable.due(destination, performance.now());
        const details = { destination, reason: messageOf(error), times };
        if (times !== undefined) logger.error(details, 'cannot read the queue; trying again');
      };
      const waitingFrom = (name: string, from: Position): Promise<number> =>
        countFrom(log, from, name).catch((error: unknown) => {
          tellUnreadable(name, error);
          return 0;
        });

      const places = new Map<string, Place>();
      for (const destination of destinations) {
        let file = files.get(destination);
        if (file === undefined) {
          file = await PositionFile.create(fs, directory, destination, startOfNew);
          opened.push(file);
        }
        if (file.saved === undefined)
          tellDamagedPosition(logger, destination, positionPath(directory, destination));
        const from = file.saved ?? log.start;
        const inHand = await InHand.open(fs, directory, destination, logger);
        const waitingSpans = await waitingFrom(destination, from);
        const reader = new DestinationReader({
          destination,
          log,
          from,
          inHand,
          waitingSpans,
          maxRepeatedBytes,
          onMuchSettled,
          onReadError: (error) => tellUnreadable(destination, error),
        });
        opened.push(reader);
        places.set(destination, { reader, file, inHand, recoveredSpans: waitingSpans });
      }

      const unconfigured = new Unconfigured(fs, directory, logger);
      for (const [name, file] of files) {
        if (places.has(name)) continue;
        unconfigured.keep(name, file, await waitingFrom(name, file.saved ?? log.start));
      }
      return new Readers(logger, places, unconfigured);
    } catch (error) {
      for (const closable of opened) await closable.close().catch(() => {});
      throw error;
    }
  }

  get(destination: string): DestinationReader | undefined {
    return this.#places.get(destination)?.reader;
  }

  /** Whether a destination holds this sender. */
  hold(sender: string): boolean {
    for (const { reader } of this.#places.values()) if (reader.heldSenders.has(sender)) return true;
    return false;
  }

  /** Senders that a destination holds; one may come several times. */
  get heldSenders(): string[] {
    return [...this.#places.values()].flatMap(({ reader }) => Array.from(reader.heldSenders));
  }

  [Symbol.iterator](): IterableIterator<[string, Place]> {
    return this.#places.entries();
  }

  /** What a start would find. */
  get saved(): readonly (readonly [string, Position | undefined])[] {
    const configured = [...this.#places].map(([name, { file }]) => [name, file.saved] as const);
    return [...configured, ...this.unconfigured.positions];
  }

  /** Saves how far everything is settled. Never rejects: what cannot be saved now is tried again. */
  async save(): Promise<void> {
    for (const [destination, { reader, file, inHand }] of this.#places) {
      const at = reader.settledUpTo;
      if (file.saved === undefined || comparePositions(file.saved, at) !== 0) {
        await file.save(at).catch((error: unknown) => this.#tellUnsaved(destination, error));
      }
      reader.saved(at);
      if (file.saved !== undefined) inHand.passed(file.saved);
    }
  }

  #tellUnsaved(destination: string, error: unknown): void {
    const times = this.#unsaved.due(destination, performance.now());
    if (times === undefined) return;
    this.#logger.error(
      { destination, reason: messageOf(error), times },
      'cannot save how far this destination is delivered: after a crash more comes again; trying again',
    );
  }

  async close(): Promise<void> {
    const closables = [...this.#places.values()].flatMap(({ reader, file }) => [reader, file]);
    const results = await Promise.allSettled([...closables, this.unconfigured].map((each) => each.close()));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }
}
