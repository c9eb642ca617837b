/**
 * The bytes of a segment file. Pure: no disk, no clock. All integers are little-endian.
 *
 *     segment  := segment header, frame*, [ footer, trailer ]
 *     segment header (32 bytes)
 *         0  magic "MTRELAY" and a zero byte      8  u32 format version
 *        12  u32 salt, random                    16  u64 segment id
 *        24  u32 what is kept (see LogContent)   28  u32 CRC-32 of bytes 0 to 27
 *     frame := prefix, header, payload*
 *     prefix (28 bytes)
 *         0  u32 magic                            4  u32 kind: 0 entries, 1 footer
 *         8  u32 length of the header            12  u32 length of all payloads
 *        16  u32 CRC-32 of the header            20  u32 CRC-32 of all payloads
 *        24  u32 CRC-32 of bytes 0 to 23, seeded with the salt and the prefix's own offset in the file
 *     header of entries := JSON, UTF-8: [{ "bytes": length of the payload, "meta": … }, …]
 *     footer   := a frame of kind 1 without payload, whose header is the summary of the segment
 *     trailer (16 bytes, the last of the file)
 *         0  u64 offset of the footer             8  u32 magic
 *        12  u32 CRC-32 of bytes 0 to 11, seeded with the salt
 *
 * Invariants:
 * - One append is one frame: its checksums make it whole or nothing.
 * - The prefix has a checksum of its own, so that a damaged payload does not cost the frames behind it, and a
 *   damaged prefix is passed by looking for the next one whose checksum holds. The header has one, so that what
 *   is in a frame is known without its payloads, and when they are damaged. The salt, which no client knows, and
 *   the offset keep bytes that merely look like a frame (inside a payload) from being taken for one. The salt
 *   stands in the file's name too: a damaged segment header costs nothing.
 * - A whole frame of a kind that a reader does not know is passed over: later versions may add some.
 * - A file with a valid trailer is sealed: nothing is ever written to it again.
 *
 * An append may rewrite the disk sector that ends with the bytes synced before it. The log counts on a disk that
 * leaves old or new bytes there when power fails, as ext4, xfs and every database do; what it leaves is checked.
 */
import { crc32 } from 'node:zlib';

export const FORMAT_VERSION = 1;
export const SEGMENT_HEADER_SIZE = 32;
export const PREFIX_SIZE = 28;
export const TRAILER_SIZE = 16;

/** What a log keeps; a segment that strayed into the folder of another kind is told apart. */
export const LogContent = { queue: 1, deadLetters: 2 } as const;
export type LogContent = (typeof LogContent)[keyof typeof LogContent];

/** Longest JSON header of a frame; a guard for readers, far above what a request of many routes needs. */
export const MAX_FRAME_HEADER = 16 * 1024 * 1024;

const SEGMENT_MAGIC = Buffer.from('MTRELAY\0', 'latin1');
const FRAME_MAGIC = 0x4652544d; // "MTRF"
const TRAILER_MAGIC = 0x4552544d; // "MTRE"
const KIND_ENTRIES = 0;
const KIND_FOOTER = 1;

/** One thing that is kept: bytes, and what has to be known of them without reading them. */
export type Entry<M> = { readonly meta: M; readonly payload: Uint8Array };

/** A frame that has everything but its place; `size` is that of the whole frame. */
export type UnplacedFrame = {
  readonly prefix: Buffer;
  readonly body: readonly Uint8Array[];
  readonly size: number;
};

export type Prefix = {
  readonly kind: 'entries' | 'footer' | 'unknown';
  readonly headerLength: number;
  readonly payloadLength: number;
  readonly headerChecksum: number;
  readonly payloadChecksum: number;
};

export type SegmentHeader = {
  readonly version: number;
  readonly salt: number;
  readonly id: number;
  readonly content: number;
};

export function encodeSegmentHeader(id: number, salt: number, content: LogContent): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_SIZE);
  SEGMENT_MAGIC.copy(bytes);
  bytes.writeUInt32LE(FORMAT_VERSION, 8);
  bytes.writeUInt32LE(salt, 12);
  bytes.writeBigUInt64LE(BigInt(id), 16);
  bytes.writeUInt32LE(content, 24);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 28)), 28);
  return bytes;
}

/** `undefined` if these are not the first bytes of a whole segment header, of whatever version. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_SIZE || !bytes.subarray(0, 8).equals(SEGMENT_MAGIC)) return undefined;
  if (bytes.readUInt32LE(28) !== crc32(bytes.subarray(0, 28))) return undefined;
  return {
    version: bytes.readUInt32LE(8),
    salt: bytes.readUInt32LE(12),
    id: Number(bytes.readBigUInt64LE(16)),
    content: bytes.readUInt32LE(24),
  };
}

export function encodeFrame<M>(entries: readonly Entry<M>[]): UnplacedFrame {
  const header = JSON.stringify(entries.map(({ meta, payload }) => ({ bytes: payload.length, meta })));
  return unplaced(
    KIND_ENTRIES,
    header,
    entries.map((entry) => entry.payload),
  );
}

export function encodeFooter(summary: unknown): UnplacedFrame {
  return unplaced(KIND_FOOTER, JSON.stringify(summary), []);
}

/** Throws on what no reader would take back: callers keep far below these limits. */
function unplaced(kind: number, json: string, payloads: readonly Uint8Array[]): UnplacedFrame {
  const header = Buffer.from(json, 'utf8');
  const payloadLength = payloads.reduce((sum, payload) => sum + payload.length, 0);
  if (header.length > MAX_FRAME_HEADER || payloadLength >= 2 ** 32) {
    throw new RangeError(`a frame of ${header.length} and ${payloadLength} bytes is too large for the log`);
  }
  const prefix = Buffer.allocUnsafe(PREFIX_SIZE);
  prefix.writeUInt32LE(FRAME_MAGIC, 0);
  prefix.writeUInt32LE(kind, 4);
  prefix.writeUInt32LE(header.length, 8);
  prefix.writeUInt32LE(payloadLength, 12);
  prefix.writeUInt32LE(crc32(header), 16);
  prefix.writeUInt32LE(
    payloads.reduce((sum, bytes) => crc32(bytes, sum), 0),
    20,
  );
  return { prefix, body: [header, ...payloads], size: PREFIX_SIZE + header.length + payloadLength };
}

/** The bytes to write at `offset` of a segment with this salt. */
export function placeFrame(frame: UnplacedFrame, salt: number, offset: number): readonly Uint8Array[] {
  frame.prefix.writeUInt32LE(prefixChecksum(frame.prefix, 0, salt, offset), 24);
  return [frame.prefix, ...frame.body];
}

/** The prefix at `at` in `bytes`, which stands at `offset` in the file; `undefined` if there is none. */
export function decodePrefix(bytes: Buffer, at: number, salt: number, offset: number): Prefix | undefined {
  if (bytes.length - at < PREFIX_SIZE || bytes.readUInt32LE(at) !== FRAME_MAGIC) return undefined;
  if (bytes.readUInt32LE(at + 24) !== prefixChecksum(bytes, at, salt, offset)) return undefined;
  const kind = bytes.readUInt32LE(at + 4);
  return {
    kind: kind === KIND_ENTRIES ? 'entries' : kind === KIND_FOOTER ? 'footer' : 'unknown',
    headerLength: bytes.readUInt32LE(at + 8),
    payloadLength: bytes.readUInt32LE(at + 12),
    headerChecksum: bytes.readUInt32LE(at + 16),
    payloadChecksum: bytes.readUInt32LE(at + 20),
  };
}

const place = Buffer.alloc(8);
function prefixChecksum(bytes: Buffer, at: number, salt: number, offset: number): number {
  place.writeUInt32LE(offset >>> 0, 0);
  place.writeUInt32LE(Math.floor(offset / 2 ** 32), 4);
  return crc32(bytes.subarray(at, at + 24), crc32(place, salt));
}

/** What a frame of entries says of them; `undefined` if the header's checksum or the lengths do not hold. */
export function decodeHeader<M>(prefix: Prefix, header: Buffer): { bytes: number; meta: M }[] | undefined {
  const entries = parseHeader(prefix, header) as { bytes: number; meta: M }[] | undefined;
  const length = entries?.reduce((sum, { bytes }) => sum + bytes, 0);
  return length === prefix.payloadLength ? entries : undefined;
}

/** The payload of each entry, as views of `payloads`; `undefined` if their checksum does not hold. */
export function decodePayloads<M>(
  prefix: Prefix,
  header: readonly { bytes: number; meta: M }[],
  payloads: Buffer,
): Entry<M>[] | undefined {
  if (payloads.length !== prefix.payloadLength || crc32(payloads) !== prefix.payloadChecksum)
    return undefined;
  let at = 0;
  return header.map(({ bytes, meta }) => ({ meta, payload: payloads.subarray(at, (at += bytes)) }));
}

export function decodeFooter<S>(prefix: Prefix, header: Buffer): S | undefined {
  return parseHeader(prefix, header) as S | undefined;
}

/** Behind a checksum that held, the JSON is the one that was written. */
function parseHeader(prefix: Prefix, header: Buffer): unknown {
  if (header.length !== prefix.headerLength || crc32(header) !== prefix.headerChecksum) return undefined;
  return JSON.parse(header.toString('utf8'));
}

export function encodeTrailer(footerOffset: number, salt: number): Buffer {
  const bytes = Buffer.alloc(TRAILER_SIZE);
  bytes.writeBigUInt64LE(BigInt(footerOffset), 0);
  bytes.writeUInt32LE(TRAILER_MAGIC, 8);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 12), salt), 12);
  return bytes;
}

/** Offset of the footer; `undefined` if these are not the last bytes of a sealed segment. */
export function decodeTrailer(bytes: Buffer, salt: number): number | undefined {
  if (bytes.length !== TRAILER_SIZE || bytes.readUInt32LE(8) !== TRAILER_MAGIC) return undefined;
  if (bytes.readUInt32LE(12) !== crc32(bytes.subarray(0, 12), salt)) return undefined;
  return Number(bytes.readBigUInt64LE(0));
}
