import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Notices } from '../telemetry/notice.ts';
import { DestinationReader } from './destination-reader.ts';
import type { RecordMeta } from './loan.ts';
import type { FileSystem } from './filesystem.ts';
import { InHand } from './in-hand.ts';
import { Ledger } from './ledger.ts';
import type { LedgerSource } from './ledger.ts';
import { LeftBefore, saltsOf } from './left-before.ts';
import { comparePositions } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';
import { tellDamagedPosition } from './observer.ts';
import { PositionFile, positionPath, savedDestinations } from './positions.ts';
import type { SegmentLog } from './segment-log.ts';
import { Unconfigured } from './unconfigured.ts';
import { countStored } from './waiting-spans.ts';

/** The files of a queue's positions, opened before its log: no segment may get an id that one of them names. */
export type Positions = {
  readonly directory: string;
  readonly files: Map<string, PositionFile>;
  readonly ledgers: Map<string, Ledger>;
};

/** @throws RelayError QUEUE_FORMAT */
export async function openPositions(
  fs: FileSystem,
  queueDirectory: string,
  logger: Logger,
): Promise<Positions> {
  const directory = join(queueDirectory, 'positions');
  const files = new Map<string, PositionFile>();
  const ledgers = new Map<string, Ledger>();
  await fs.makeDirectory(directory);
  try {
    for (const name of await savedDestinations(fs, directory)) {
      files.set(name, await PositionFile.open(fs, directory, name));
      ledgers.set(name, await Ledger.open(fs, directory, name, logger));
    }
    await fs.syncDirectory(directory); // of a start that was cut off in between
  } catch (error) {
    for (const file of files.values()) await file.close().catch(() => {});
    throw error;
  }
  return { directory, files, ledgers };
}

/** Highest id of a segment that a position is in, or a ledger names; 0 without any. */
export function highestSegment({ files, ledgers }: Positions): number {
  let highest = 0;
  for (const { saved } of files.values()) highest = Math.max(highest, saved?.segment ?? 0);
  for (const { found } of ledgers.values())
    for (const { id } of found?.segments ?? []) highest = Math.max(highest, id);
  return highest;
}

/** The mark of a position without a ledger is 0: all letters have to be asked. */
function marksOf({ files, ledgers }: Positions): number[] {
  return [...files.keys()].map((name) => ledgers.get(name)?.found?.mark ?? 0);
}

/** What letters tell that are before it is in all ledgers. */
export function lowestMark(positions: Positions): number {
  return Math.min(...marksOf(positions), ...(positions.files.size === 0 ? [0] : []));
}

/** No segment of dead letters may get an id before a mark. */
export function highestMark(positions: Positions): number {
  return Math.max(0, ...marksOf(positions).map((mark) => mark - 1));
}

/** By destination, what had left before this start, as far as its position and its ledger tell it. */
export function leftBefore(
  { files, ledgers }: Positions,
  log: SegmentLog<RecordMeta>,
): Map<string, LeftBefore> {
  const salts = saltsOf(log.segments);
  const left = new Map<string, LeftBefore>();
  for (const [name, { saved }] of files)
    left.set(name, new LeftBefore(saved ?? log.start, ledgers.get(name)?.found, salts));
  return left;
}

type ReadersOptions = {
  readonly fs: FileSystem;
  readonly log: SegmentLog<RecordMeta>;
  readonly positions: Positions;
  /** By destination that has a position; told of the letters. */
  readonly before: ReadonlyMap<string, LeftBefore>;
  /** Letters in segments before this one have told what they tell. */
  readonly mark: () => number;
  readonly destinations: readonly string[];
  readonly maxRepeatedBytes: number;
  /** Positions should be saved before their time. */
  readonly onMuchSettled: () => void;
  readonly logger: Logger;
};

/** Who knows what has left. */
type Told = Pick<LedgerSource, 'changes' | 'left'>;

function sourceFrom(told: Told, segments: LedgerSource['segments'], mark: () => number): LedgerSource {
  return {
    get changes() {
      return told.changes;
    },
    get left() {
      return told.left;
    },
    get mark() {
      return mark();
    },
    segments,
  };
}

type Place = {
  readonly reader: DestinationReader;
  readonly file: PositionFile;
  readonly ledger: Ledger;
  readonly source: LedgerSource;
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
    const { fs, log, positions, destinations, mark, maxRepeatedBytes, onMuchSettled, logger } = options;
    const { directory, files, ledgers } = positions;
    const opened: { close(): Promise<void> }[] = [...files.values()];
    try {
      const startOfNew = files.size === 0 ? log.start : log.end;
      const unreadable = new Notices();
      const tellUnreadable = (destination: string, error: unknown) => {
        const times = unreadable.due(destination, performance.now());
        const details = { destination, reason: messageOf(error), times };
        if (times !== undefined) logger.error(details, 'cannot read the queue; trying again');
      };
      const storedFrom = (name: string, before: LeftBefore): Promise<number> =>
        countStored(log, before, name).catch((error: unknown) => {
          tellUnreadable(name, error);
          return before.spans;
        });
      const sourceOf = (told: Told): LedgerSource => sourceFrom(told, log.segments, mark);

      const places = new Map<string, Place>();
      for (const destination of destinations) {
        let file = files.get(destination);
        if (file === undefined) {
          file = await PositionFile.create(fs, directory, destination, startOfNew);
          opened.push(file);
        }
        if (file.saved === undefined)
          tellDamagedPosition(logger, destination, positionPath(directory, destination));
        const ledger = ledgers.get(destination) ?? (await Ledger.open(fs, directory, destination, logger));
        const before =
          options.before.get(destination) ?? new LeftBefore(startOfNew, undefined, new Map<number, number>());
        const inHand = await InHand.open(fs, directory, destination, logger);
        before.makeWhole((place) => inHand.isSuspect(place));
        const storedSpans = await storedFrom(destination, before);
        const recoveredSpans = storedSpans - before.spans;
        const reader = new DestinationReader({
          destination,
          log,
          before,
          inHand,
          storedSpans,
          maxRepeatedBytes,
          onMuchSettled,
          onReadError: (error) => tellUnreadable(destination, error),
        });
        opened.push(reader);
        places.set(destination, { reader, file, ledger, source: sourceOf(reader), inHand, recoveredSpans });
      }

      const unconfigured = new Unconfigured(fs, directory, logger);
      for (const [name, file] of files) {
        const ledger = ledgers.get(name);
        const before = options.before.get(name);
        if (places.has(name) || ledger === undefined || before === undefined) continue;
        const waitingSpans = (await storedFrom(name, before)) - before.spans;
        unconfigured.keep(name, { file, ledger, source: sourceOf(before), waitingSpans });
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

  /**
   * Saves how far everything is settled. Never rejects: what cannot be saved now is tried again.
   * @param isLast the queue is closed
   */
  async save(isLast: boolean): Promise<void> {
    for (const [destination, { reader, file, ledger, source, inHand }] of this.#places) {
      const at = reader.settledUpTo;
      const isMoved = file.saved === undefined || comparePositions(file.saved, at) !== 0;
      if (isMoved) await file.save(at).catch((error: unknown) => this.#tellUnsaved(destination, error));
      reader.saved(at);
      if (file.saved !== undefined) inHand.passed(file.saved);
      await ledger.keepUp(source, { at, isMoved, isLast });
    }
    for (const { ledger, source, file } of this.unconfigured.ledgers)
      if (file.saved !== undefined) await ledger.keepUp(source, { at: file.saved, isMoved: false, isLast });
  }

  /** Resolves once all that has left is on stable storage; rejects when the disk fails. */
  async catchUp(): Promise<void> {
    for (const { ledger, source } of [...this.#places.values(), ...this.unconfigured.ledgers])
      await ledger.catchUp(source);
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
