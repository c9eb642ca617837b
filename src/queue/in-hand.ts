import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Notices } from '../telemetry/notice.ts';
import { removeIfThere } from './filesystem.ts';
import type { FileSystem, OpenFile } from './filesystem.ts';
import { encodeHead, encodeList, HEAD_SIZE, keyOf, MOST_PLACES, readState, SIZE } from './in-hand-format.ts';
import type { Ended, RecordPlace, State } from './in-hand-format.ts';
import { comparePositions } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';

const SUFFIX = '.in-hand';

/** One may be chance: a kill hits some record. Twice the same one is no chance. */
const SUSPECT_AFTER = 2;

const NOTHING: State = { inHand: undefined, ended: new Map() };

function inHandPath(directory: string, destination: string): string {
  return join(directory, destination + SUFFIX);
}

/** Like the position that it stands beside, it goes when a destination is forgotten. */
export function removeInHand(fs: FileSystem, directory: string, destination: string): Promise<void> {
  return removeIfThere(fs, inHandPath(directory, destination));
}

/**
 * Which record of a destination is worked on, and which were at unclean ends of the relay. Each of these is kept until it
 * cannot come again: several deadly records beside each other are found out one after the other, and none of them makes
 * another forgotten. After a clean end only that the relay is at work is written, and after an unclean one each record,
 * since a write for each costs as much as some spans do. It helps where it can and never stands in the way: without its
 * file no record is suspect.
 */
export class InHand {
  readonly #path: string;
  readonly #destination: string;
  readonly #log: Logger;
  readonly #unwritten = new Notices();
  readonly #file: OpenFile | undefined;
  readonly #bytes = Buffer.alloc(SIZE);
  #state: State = NOTHING;
  #hasTaken = false;
  /** The end before was not clean: it is written which record is in hand. */
  #isWatching = false;

  private constructor(path: string, destination: string, log: Logger, file: OpenFile | undefined) {
    this.#path = path;
    this.#destination = destination;
    this.#log = log;
    this.#file = file;
  }

  /** Counts the end before, if a record was in hand at it. Never rejects. @param directory of the positions */
  static async open(fs: FileSystem, directory: string, destination: string, log: Logger): Promise<InHand> {
    const path = inHandPath(directory, destination);
    let file: OpenFile | undefined;
    let before: State | 'damaged' | undefined;
    try {
      file = await fs.open(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      if (file !== undefined) before = await readState(file);
      file ??= await fs.create(path);
    } catch (error) {
      await file?.close().catch(() => {});
      file = undefined;
      log.warn(
        { destination, file: path, reason: messageOf(error) },
        'the file of the record in hand cannot be used: a record that ends the relay is not found out; look at the disk, and at who may write there',
      );
    }
    const inHand = new InHand(path, destination, log, file);
    if (before === undefined) {
      inHand.#set(NOTHING); // at its full size, so that later writes need no room on a full disk
      return inHand;
    }
    if (before === 'damaged') {
      log.warn(
        { destination, file: path },
        'the file of the record in hand is damaged, or of another version: it is begun anew, and no record is suspect',
      );
      inHand.#set(NOTHING);
      return inHand;
    }
    inHand.#begin(before);
    return inHand;
  }

  /** Whether this record was in hand at two unclean ends, as far as it was written, without a clean one in between. */
  isSuspect(place: RecordPlace): boolean {
    const { ended } = this.#state;
    return ended.size > 0 && isSuspect(ended.get(keyOf(place)));
  }

  /** To be called right before a record is worked on; one at a time. Takes microseconds. */
  take(place: RecordPlace): void {
    const isFirst = !this.#hasTaken;
    this.#hasTaken = true;
    if (this.#isWatching) this.#write(HEAD_SIZE, place);
    else if (isFirst) this.#write(HEAD_SIZE, 'at work');
  }

  /** The work on this record is over for now. */
  release(place: RecordPlace): void {
    const { inHand } = this.#state;
    if (inHand === undefined || inHand === 'at work' || keyOf(inHand) !== keyOf(place)) return;
    this.#write(HEAD_SIZE, 'at work');
  }

  /** A start would begin here: what is before it does not come again, and is forgotten. What was settled may come. */
  passed(position: Position): void {
    this.#keep(({ place }) => comparePositions(place, position) >= 0);
  }

  /**
   * A clean end clears the records that were in hand at one unclean end only; but for that of a process which has tried
   * none, as a command. A suspect one may still come again, since others before it are not settled.
   */
  async close(): Promise<void> {
    if (this.#hasTaken) {
      this.#write(HEAD_SIZE, undefined);
      this.#keep(isSuspect);
    }
    await this.#file?.close();
  }

  #keep(isKept: (ended: Ended) => boolean): void {
    const { inHand, ended } = this.#state;
    const kept = new Map([...ended].filter(([, each]) => isKept(each)));
    if (kept.size < ended.size) this.#set({ inHand, ended: kept });
  }

  /** An end with nothing in hand says nothing, neither for the records of the ends before nor against them. */
  #begin({ inHand, ended }: State): void {
    this.#isWatching = inHand !== undefined || ended.size > 0;
    if (inHand === undefined || inHand === 'at work') {
      this.#state = { inHand, ended };
      return;
    }
    const ends = 1 + (ended.get(keyOf(inHand))?.ends ?? 0);
    this.#set({ inHand: 'at work', ended: withEnded(ended, { place: inHand, ends }) });
    const { segment, offset, index } = inHand;
    const details = { destination: this.#destination, segment, offset, index, ends };
    if (ends < SUSPECT_AFTER) {
      this.#log.warn(
        details,
        'the relay ended while it worked on this record: it is tried again, and set aside if the relay ends so once more',
      );
    } else {
      this.#log.error(
        details,
        'the relay ended while it worked on this record, as it did before: the record is not worked on again, but set aside with the dead letters',
      );
    }
  }

  #set({ inHand, ended }: State): void {
    this.#state = { inHand, ended };
    this.#write(SIZE, inHand);
  }

  /** Writes the first bytes of the file: its head, or all of it. Never throws. */
  #write(size: typeof HEAD_SIZE | typeof SIZE, inHand: State['inHand']): void {
    this.#state = { inHand, ended: this.#state.ended };
    if (this.#file === undefined) return;
    if (size === SIZE) encodeList(this.#bytes, this.#state.ended);
    encodeHead(this.#bytes, inHand);
    try {
      this.#file.writeSync(this.#bytes.subarray(0, size), 0);
    } catch (error) {
      const times = this.#unwritten.due('', performance.now());
      if (times === undefined) return;
      this.#log.error(
        { destination: this.#destination, file: this.#path, reason: messageOf(error), times },
        'cannot write which record is in hand: a record that ends the relay is not found out; look at the disk',
      );
    }
  }
}

/** With room made for one more: the oldest that is not suspect goes first. */
function withEnded(ended: ReadonlyMap<string, Ended>, one: Ended): Map<string, Ended> {
  const all = new Map(ended);
  const key = keyOf(one.place);
  all.delete(key);
  if (all.size === MOST_PLACES) {
    const keys = [...all.keys()];
    all.delete(keys.find((each) => !isSuspect(all.get(each))) ?? keys[0]!);
  }
  return all.set(key, one);
}

function isSuspect(ended: Ended | undefined): boolean {
  return ended !== undefined && ended.ends >= SUSPECT_AFTER;
}
