import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Notices } from '../telemetry/notice.ts';
import { removeIfThere } from './filesystem.ts';
import type { FileSystem, OpenFile } from './filesystem.ts';
import type { Position } from './log-cursor.ts';

/**
 * A destination's file `NAME.in-hand`, beside its position: which record is being worked on. A process that dies of a
 * record leaves its place there, so that the next one knows which it was. It is never synced: what a process has written
 * outlives it without that. After a loss of power it may tell of any moment, or be damaged.
 *
 *     one block (64 bytes), written whole
 *          0  magic "MTRHAND" and a byte: the format's version
 *          8  u32 1 while a record is in hand, else 0
 *         12  u32 unclean ends in a row at which the record of the last one was in hand; 0 without one
 *         16  the record in hand                      36  the record of the last unclean end
 *         56  u32 zero                                60  u32 CRC-32 of bytes 0 to 59
 *
 *     record (20 bytes): u64 segment id, u64 offset of its frame, u32 index in the frame
 */
const SIZE = 64;
const MAGIC = Buffer.from('MTRHAND', 'latin1');
const VERSION = 1;
const SUFFIX = '.in-hand';

/** One may be chance: a kill hits some record. Twice the same one is no chance. */
const SUSPECT_AFTER = 2;

/** A record's place in the log, which it keeps for good. */
export type RecordPlace = Position & { readonly index: number };

type State = {
  readonly inHand: RecordPlace | undefined;
  /** The record that was in hand at the last unclean end which had one, and at how many in a row it was. */
  readonly suspected: { readonly place: RecordPlace; readonly ends: number } | undefined;
};

const NOTHING: State = { inHand: undefined, suspected: undefined };

export function inHandPath(directory: string, destination: string): string {
  return join(directory, destination + SUFFIX);
}

/** Like the position that it stands beside, it goes when a destination is forgotten. */
export function removeInHand(fs: FileSystem, directory: string, destination: string): Promise<void> {
  return removeIfThere(fs, inHandPath(directory, destination));
}

/**
 * Which record of a destination is worked on, and whether it was worked on at two unclean ends in a row. It helps where
 * it can and never stands in the way: without its file no record is suspect.
 */
export class InHand {
  readonly #path: string;
  readonly #destination: string;
  readonly #log: Logger;
  readonly #unwritten = new Notices();
  readonly #file: OpenFile | undefined;
  readonly #block = Buffer.alloc(SIZE);
  #state: State = NOTHING;
  #hasTaken = false;

  private constructor(path: string, destination: string, log: Logger, file: OpenFile | undefined) {
    this.#path = path;
    this.#destination = destination;
    this.#log = log;
    this.#file = file;
    MAGIC.copy(this.#block);
    this.#block.writeUInt8(VERSION, MAGIC.length);
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
      inHand.#write(NOTHING); // at its full size, so that later writes need no room on a full disk
      return inHand;
    }
    if (before === 'damaged') {
      log.warn(
        { destination, file: path },
        'the file of the record in hand is damaged, or of another version: it is begun anew, and no record is suspect',
      );
      inHand.#write(NOTHING);
      return inHand;
    }
    inHand.#begin(before);
    return inHand;
  }

  /** Whether this record was in hand at two unclean ends in a row. */
  isSuspect(place: RecordPlace): boolean {
    const { suspected } = this.#state;
    return suspected !== undefined && suspected.ends >= SUSPECT_AFTER && isSame(suspected.place, place);
  }

  /** To be called right before a record is worked on; one at a time. Takes microseconds. */
  take(place: RecordPlace): void {
    this.#hasTaken = true;
    this.#write({ ...this.#state, inHand: place });
  }

  /** The work on this record is over for now. */
  release(place: RecordPlace): void {
    const { inHand } = this.#state;
    if (inHand !== undefined && isSame(inHand, place)) this.#write({ ...this.#state, inHand: undefined });
  }

  /**
   * The record does not come again. One that was suspect stays so: a crash before its position is saved brings it again.
   */
  settled(place: RecordPlace): void {
    this.release(place);
    const { suspected } = this.#state;
    if (suspected === undefined || suspected.ends >= SUSPECT_AFTER || !isSame(suspected.place, place)) return;
    this.#write({ ...this.#state, suspected: undefined });
  }

  /** A clean end, which clears all suspicion; but for that of a process which has tried no record, as a command. */
  async close(): Promise<void> {
    if (this.#hasTaken && (this.#state.inHand ?? this.#state.suspected) !== undefined) this.#write(NOTHING);
    await this.#file?.close();
  }

  /** An end with nothing in hand says nothing, neither for the record of the end before nor against it. */
  #begin({ inHand, suspected }: State): void {
    if (inHand === undefined) {
      this.#state = { inHand, suspected };
      return;
    }
    const ends = 1 + (suspected !== undefined && isSame(suspected.place, inHand) ? suspected.ends : 0);
    this.#write({ inHand: undefined, suspected: { place: inHand, ends } });
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
        'the relay ended while it worked on this record, as it did the time before: the record is not worked on again, but set aside with the dead letters',
      );
    }
  }

  /** Never throws. */
  #write(state: State): void {
    this.#state = state;
    if (this.#file === undefined) return;
    const { inHand, suspected } = state;
    this.#block.writeUInt32LE(inHand === undefined ? 0 : 1, 8);
    this.#block.writeUInt32LE(suspected?.ends ?? 0, 12);
    writePlace(this.#block, inHand, 16);
    writePlace(this.#block, suspected?.place, 36);
    this.#block.writeUInt32LE(crc32(this.#block.subarray(0, 60)), 60);
    try {
      this.#file.writeSync(this.#block, 0);
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

/** Undefined of a file that was made and not written. */
async function readState(file: OpenFile): Promise<State | 'damaged' | undefined> {
  const bytes = Buffer.alloc(SIZE);
  const size = await file.read(bytes, 0);
  if (size === 0) return undefined;
  const isWhole =
    size === SIZE &&
    bytes.subarray(0, 7).equals(MAGIC) &&
    bytes.readUInt8(7) === VERSION &&
    bytes.readUInt32LE(60) === crc32(bytes.subarray(0, 60));
  if (!isWhole) return 'damaged';
  const ends = bytes.readUInt32LE(12);
  return {
    inHand: bytes.readUInt32LE(8) === 0 ? undefined : readPlace(bytes, 16),
    suspected: ends === 0 ? undefined : { place: readPlace(bytes, 36), ends },
  };
}

function writePlace(bytes: Buffer, place: RecordPlace | undefined, at: number): void {
  bytes.writeBigUInt64LE(BigInt(place?.segment ?? 0), at);
  bytes.writeBigUInt64LE(BigInt(place?.offset ?? 0), at + 8);
  bytes.writeUInt32LE(place?.index ?? 0, at + 16);
}

function readPlace(bytes: Buffer, at: number): RecordPlace {
  return {
    segment: Number(bytes.readBigUInt64LE(at)),
    offset: Number(bytes.readBigUInt64LE(at + 8)),
    index: bytes.readUInt32LE(at + 16),
  };
}

function isSame(a: RecordPlace, b: RecordPlace): boolean {
  return a.segment === b.segment && a.offset === b.offset && a.index === b.index;
}
