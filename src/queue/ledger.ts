import { dirname, join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Notices } from '../telemetry/notice.ts';
import { removeIfThere } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';
import { decodeLedger, encodeLedger, MOST_BYTES } from './ledger-format.ts';
import type { Left, LedgerContent } from './ledger-format.ts';
import { comparePositions } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';
import type { SegmentName } from './segment.ts';

const SUFFIX = '.ledger';
const UNFINISHED = '.partial';

/**
 * The position is saved about once a second. What leaves behind a record that stays open, and is not a dead letter,
 * is written down when the position has stood still so many times.
 */
const STILL = 5;

const DAMAGED =
  'the ledger of what has left the queue is damaged, or of another version: it is begun anew, and some spans are sent again';
const UNREADABLE =
  'the ledger of what has left the queue cannot be read: it is begun anew, and some spans are sent again; look at the disk, and at who may write there';

function ledgerPath(directory: string, destination: string): string {
  return join(directory, destination + SUFFIX);
}

/** Like the position that it stands beside, it goes when a destination is forgotten. */
export async function removeLedger(fs: FileSystem, directory: string, destination: string): Promise<void> {
  const path = ledgerPath(directory, destination);
  await removeIfThere(fs, path);
  await removeIfThere(fs, path + UNFINISHED);
}

/** What a ledger is to say. */
export type LedgerSource = {
  /** Grows with all that leaves. */
  readonly changes: number;
  /** Letters in segments before this one have told what they tell. */
  readonly mark: number;
  readonly segments: readonly SegmentName[];
  readonly left: Left;
};

/** When the position was to be saved. */
type Round = {
  readonly at: Position;
  readonly isMoved: boolean;
  /** The queue is closed. */
  readonly isLast: boolean;
};

/**
 * A destination's ledger on disk: which spans have left behind its position. A dead letter tells by itself which spans
 * have left with it, so that nothing is written here for it, until letters are removed: then what they have told has to
 * be here before. What was delivered is written here now and then, if the position alone cannot tell it, and at an
 * orderly end. A ledger that is lost costs repetition, and never a span.
 */
export class Ledger {
  readonly #fs: FileSystem;
  readonly #path: string;
  readonly #destination: string;
  readonly #log: Logger;
  readonly #unsaved = new Notices();
  #found: LedgerContent | undefined;
  #mark = 0;
  /** Where what it tells ends; undefined where it tells nothing but its base. */
  #end: Position | undefined;
  #savedChanges = 0;
  #stoodStill = 0;
  #writing: Promise<void> = Promise.resolve();

  private constructor(fs: FileSystem, path: string, destination: string, log: Logger) {
    this.#fs = fs;
    this.#path = path;
    this.#destination = destination;
    this.#log = log;
  }

  /** Never rejects. @param directory of the positions */
  static async open(fs: FileSystem, directory: string, destination: string, log: Logger): Promise<Ledger> {
    const ledger = new Ledger(fs, ledgerPath(directory, destination), destination, log);
    const details = { destination, file: ledger.#path };
    try {
      const bytes = await readWhole(fs, ledger.#path);
      const found = bytes && decodeLedger(bytes);
      if (found !== undefined) ledger.#is(found);
      else if (bytes !== undefined) log.warn(details, DAMAGED);
      ledger.#found = found;
    } catch (error) {
      log.warn({ ...details, reason: messageOf(error) }, UNREADABLE);
    }
    return ledger;
  }

  /** What the run before has left; undefined: nothing that can be read. */
  get found(): LedgerContent | undefined {
    return this.#found;
  }

  /** To be called each time that the position was to be saved. Never rejects. */
  async keepUp(source: LedgerSource, { at, isMoved, isLast }: Round): Promise<void> {
    this.#stoodStill = isMoved ? 0 : this.#stoodStill + 1;
    const isDue = isLast || this.#stoodStill >= STILL;
    const isPassed = this.#end !== undefined && comparePositions(this.#end, at) < 0;
    if (!isPassed && source.mark === this.#mark) {
      if (!isDue || source.changes === this.#savedChanges) return;
      this.#stoodStill = 0;
      if (this.#end === undefined && endOf(source.left) === undefined) return;
    }
    await this.#write(source).catch((error: unknown) => this.#tellUnsaved(error));
  }

  /** Resolves once all that has left is on stable storage; rejects when the disk fails. */
  async catchUp(source: LedgerSource): Promise<void> {
    if (source.changes !== this.#savedChanges) await this.#write(source);
  }

  #write(source: LedgerSource): Promise<void> {
    const write = async () => {
      const { changes, mark, left } = source;
      const content = { ...left, mark, segments: namedIn(left, source.segments) };
      await this.#replace(encodeLedger(content));
      this.#is(content);
      this.#savedChanges = changes;
    };
    this.#writing = this.#writing.then(write, write);
    return this.#writing;
  }

  #is(content: LedgerContent): void {
    this.#mark = content.mark;
    this.#end = endOf(content);
  }

  async #replace(bytes: Buffer): Promise<void> {
    const partial = this.#path + UNFINISHED;
    await removeIfThere(this.#fs, partial); // of a try that failed
    const file = await this.#fs.create(partial);
    try {
      await file.write([bytes], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#fs.rename(partial, this.#path);
    await this.#fs.syncDirectory(dirname(this.#path));
  }

  #tellUnsaved(error: unknown): void {
    const times = this.#unsaved.due('', performance.now());
    if (times === undefined) return;
    this.#log.error(
      { destination: this.#destination, file: this.#path, reason: messageOf(error), times },
      'cannot save what has left the queue: after a crash more is sent again; trying again',
    );
  }
}

/** Where the last of what is told ends; undefined where nothing is. */
function endOf({ ranges, records }: Left): Position | undefined {
  let last: Position | undefined = ranges.at(-1)?.to;
  for (const { place } of records) if (last === undefined || comparePositions(place, last) > 0) last = place;
  return last;
}

/** Undefined: there is no such file. */
async function readWhole(fs: FileSystem, path: string): Promise<Buffer | undefined> {
  const file = await fs.open(path, { readOnly: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const bytes = Buffer.alloc(Math.min(await file.size(), MOST_BYTES));
    await file.read(bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}

/** The segments that the ledger has to name: those that are there. */
function namedIn({ base, ranges, records }: Left, segments: readonly SegmentName[]): SegmentName[] {
  const ids = new Set([
    base?.segment,
    ...ranges.flatMap(({ from, to }) => [from.segment, to.segment]),
    ...records.map(({ place }) => place.segment),
  ]);
  return segments.filter(({ id }) => ids.has(id)).map(({ id, salt }) => ({ id, salt }));
}
