import { crc32 } from 'node:zlib';
import type { OpenFile } from './filesystem.ts';
import type { Position } from './log-cursor.ts';

/**
 * A destination's file `NAME.in-hand`, beside its position: which record is being worked on, and which were at unclean
 * ends before. A process that dies of a record leaves its place there, so that the next one knows which it was. The file
 * is never synced: what a process has written outlives it without that. After a loss of power it may tell of any moment,
 * or be damaged.
 *
 *     head (64 bytes), written by itself
 *          0  magic "MTRHAND" and a byte: the format's version
 *          8  u32 0 before anything is worked on, and after a clean end; 1 while a record is in hand; 2 otherwise
 *         12  the record in hand                      32  zeros
 *         60  u32 CRC-32 of bytes 0 to 59
 *     list, written together with the head
 *         64  u32 number of places                    68  u32 zero
 *         72  160 places (24 bytes), oldest first, the others zeros
 *       4092  u32 CRC-32 of bytes 64 to 4091
 *
 *     record (20 bytes): u64 segment id, u64 offset of its frame, u32 index in the frame
 *     place: a record, u32 unclean ends at which it was in hand
 *
 * All of it is one page of memory, which the kernel writes whole even if the process is killed meanwhile.
 */
export const SIZE = 4096;
export const HEAD_SIZE = 64;
const LIST_AT = 72;
const PLACE_SIZE = 24;
const MAGIC = Buffer.from('MTRHAND', 'latin1');
const VERSION = 2;
const IN_HAND = 1;
const AT_WORK = 2;

/**
 * Places that are kept. A relay has to die twice of each before the list is full of suspect ones, which takes half a day
 * where the restarts are two minutes apart. Only beyond that one is forgotten, and ends the relay twice more.
 */
export const MOST_PLACES = 160;

/** A record's place in the log, which it keeps for good. */
export type RecordPlace = Position & { readonly index: number };

/** A record that was in hand at unclean ends, and at how many. */
export type Ended = { readonly place: RecordPlace; readonly ends: number };

export type State = {
  /** `at work`: of a record that is not told. */
  readonly inHand: RecordPlace | 'at work' | undefined;
  /** By `keyOf`, oldest first. */
  readonly ended: ReadonlyMap<string, Ended>;
};

/** Undefined of a file that was made and not written. */
export async function readState(file: OpenFile): Promise<State | 'damaged' | undefined> {
  const bytes = Buffer.alloc(SIZE);
  const size = await file.read(bytes, 0);
  if (size === 0) return undefined;
  const isWhole =
    size === SIZE &&
    bytes.subarray(0, MAGIC.length).equals(MAGIC) &&
    bytes.readUInt8(MAGIC.length) === VERSION &&
    isChecked(bytes.subarray(0, HEAD_SIZE)) &&
    isChecked(bytes.subarray(HEAD_SIZE));
  const count = bytes.readUInt32LE(HEAD_SIZE);
  if (!isWhole || count > MOST_PLACES) return 'damaged';
  const ended = new Map<string, Ended>();
  for (let at = LIST_AT; at < LIST_AT + count * PLACE_SIZE; at += PLACE_SIZE) {
    const place = readPlace(bytes, at);
    ended.set(keyOf(place), { place, ends: bytes.readUInt32LE(at + 20) });
  }
  const mark = bytes.readUInt32LE(8);
  const inHand = mark === IN_HAND ? readPlace(bytes, 12) : mark === AT_WORK ? 'at work' : undefined;
  return { inHand, ended };
}

export function encodeHead(bytes: Buffer, inHand: State['inHand']): void {
  const head = bytes.subarray(0, HEAD_SIZE);
  MAGIC.copy(head);
  head.writeUInt8(VERSION, MAGIC.length);
  const place = inHand === 'at work' ? undefined : inHand;
  head.writeUInt32LE(place !== undefined ? IN_HAND : inHand === 'at work' ? AT_WORK : 0, 8);
  writePlace(head, place, 12);
  check(head);
}

export function encodeList(bytes: Buffer, ended: ReadonlyMap<string, Ended>): void {
  const list = bytes.subarray(HEAD_SIZE).fill(0);
  list.writeUInt32LE(ended.size, 0);
  let at = LIST_AT;
  for (const { place, ends } of ended.values()) {
    writePlace(bytes, place, at);
    bytes.writeUInt32LE(ends, at + 20);
    at += PLACE_SIZE;
  }
  check(list);
}

/** The last four bytes are the checksum of those before. */
function check(block: Buffer): void {
  const end = block.length - 4;
  block.writeUInt32LE(crc32(block.subarray(0, end)), end);
}

function isChecked(block: Buffer): boolean {
  const end = block.length - 4;
  return block.readUInt32LE(end) === crc32(block.subarray(0, end));
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

export function keyOf({ segment, offset, index }: RecordPlace): string {
  return `${segment}/${offset}/${index}`;
}
