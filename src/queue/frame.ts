/**
 * The bytes of a segment file. Pure: no disk, no clock. All integers are little-endian.
 *
 *     segment  := segment header, frame*, [ footer, trailer ]
 *     segment header (32 bytes)
 *         0  magic "MTRELAY" and a zero byte      8  u32 format version
 *        12  u32 salt, random                    16  u64 segment id
 *        24  u32 zero                            28  u32 CRC-32 of bytes 0 to 27
 *     frame := prefix, header, payload*
 *     prefix (20 bytes)
 *         0  u32 magic (frame or footer)          4  u32 length of the header
 *         8  u32 length of all payloads          12  u32 CRC-32 of header and payloads
 *        16  u32 CRC-32 of bytes 0 to 15, seeded with the salt and the prefix's own offset in the file
 *     header   := JSON, UTF-8: [{ "bytes": length of the payload, "meta": … }, …]
 *     footer   := a frame with the footer's magic, whose header is the summary of the segment
 *     trailer (16 bytes, the last of the file)
 *         0  u64 offset of the footer             8  u32 magic
 *        12  u32 CRC-32 of bytes 0 to 11, seeded with the salt
 *
 * Invariants:
 * - One append is one frame: its checksum makes it whole or nothing.
 * - The prefix has a checksum of its own, so that a damaged payload does not cost the frames behind it, and a
 *   damaged prefix is passed by looking for the next one whose checksum holds. The salt, which no client knows,
 *   and the offset keep bytes that merely look like a frame (inside a payload) from being taken for one.
 * - A file with a valid trailer is sealed: nothing is ever written to it again.
 */
import { crc32 } from 'node:zlib';

export const FORMAT_VERSION = 1;
export const SEGMENT_HEADER_SIZE = 32;
export const PREFIX_SIZE = 20;
export const TRAILER_SIZE = 16;

/** Longest JSON header of a frame; a guard for readers, far above what a request of many routes needs. */
export const MAX_FRAME_HEADER = 16 * 1024 * 1024;

const SEGMENT_MAGIC = Buffer.from('MTRELAY\0', 'latin1');
const FRAME_MAGIC = 0x4652544d; // "MTRF"
const FOOTER_MAGIC = 0x5a52544d; // "MTRZ"
const TRAILER_MAGIC = 0x4552544d; // "MTRE"

/** One thing that is kept: bytes, and what has to be known of them without reading them. */
export type Entry<M> = { readonly meta: M; readonly payload: Uint8Array };

/** A frame that has everything but its place; `size` is that of the whole frame. */
export type UnplacedFrame = {
  readonly prefix: Buffer;
  readonly body: readonly Uint8Array[];
  readonly size: number;
};

export type Prefix = {
  readonly kind: 'frame' | 'footer';
  readonly headerLength: number;
  readonly payloadLength: number;
  readonly bodyChecksum: number;
};

export type SegmentHeader = { readonly version: number; readonly salt: number; readonly id: number };

export function encodeSegmentHeader(id: number, salt: number): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_SIZE);
  SEGMENT_MAGIC.copy(bytes);
  bytes.writeUInt32LE(FORMAT_VERSION, 8);
  bytes.writeUInt32LE(salt, 12);
  bytes.writeBigUInt64LE(BigInt(id), 16);
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
  };
}

export function encodeFrame<M>(entries: readonly Entry<M>[]): UnplacedFrame {
  const payloads = entries.map((entry) => entry.payload);
  const header = JSON.stringify(entries.map(({ meta, payload }) => ({ bytes: payload.length, meta })));
  return unplaced(FRAME_MAGIC, header, payloads);
}

export function encodeFooter(summary: unknown): UnplacedFrame {
  return unplaced(FOOTER_MAGIC, JSON.stringify(summary), []);
}

function unplaced(magic: number, json: string, payloads: readonly Uint8Array[]): UnplacedFrame {
  const header = Buffer.from(json, 'utf8');
  const body = [header, ...payloads];
  const payloadLength = payloads.reduce((sum, payload) => sum + payload.length, 0);
  const prefix = Buffer.allocUnsafe(PREFIX_SIZE);
  prefix.writeUInt32LE(magic, 0);
  prefix.writeUInt32LE(header.length, 4);
  prefix.writeUInt32LE(payloadLength, 8);
  prefix.writeUInt32LE(
    body.reduce((sum, bytes) => crc32(bytes, sum), 0),
    12,
  );
  return { prefix, body, size: PREFIX_SIZE + header.length + payloadLength };
}

/** The bytes to write at `offset` of a segment with this salt. */
export function placeFrame(frame: UnplacedFrame, salt: number, offset: number): readonly Uint8Array[] {
  frame.prefix.writeUInt32LE(prefixChecksum(frame.prefix, 0, salt, offset), 16);
  return [frame.prefix, ...frame.body];
}

/** The prefix at `at` in `bytes`, which stands at `offset` in the file; `undefined` if there is none. */
export function decodePrefix(bytes: Buffer, at: number, salt: number, offset: number): Prefix | undefined {
  if (bytes.length - at < PREFIX_SIZE) return undefined;
  const magic = bytes.readUInt32LE(at);
  if (magic !== FRAME_MAGIC && magic !== FOOTER_MAGIC) return undefined;
  if (bytes.readUInt32LE(at + 16) !== prefixChecksum(bytes, at, salt, offset)) return undefined;
  const headerLength = bytes.readUInt32LE(at + 4);
  if (headerLength > MAX_FRAME_HEADER) return undefined;
  return {
    kind: magic === FRAME_MAGIC ? 'frame' : 'footer',
    headerLength,
    payloadLength: bytes.readUInt32LE(at + 8),
    bodyChecksum: bytes.readUInt32LE(at + 12),
  };
}

const place = Buffer.alloc(8);
function prefixChecksum(bytes: Buffer, at: number, salt: number, offset: number): number {
  place.writeUInt32LE(offset >>> 0, 0);
  place.writeUInt32LE(Math.floor(offset / 2 ** 32), 4);
  return crc32(bytes.subarray(at, at + 16), crc32(place, salt));
}

/**
 * The entries of a frame's body (header and payloads, without the prefix); `undefined` if its checksum or its
 * lengths do not hold. Payloads are views of `body`.
 */
export function decodeFrame<M>(prefix: Prefix, body: Buffer): Entry<M>[] | undefined {
  if (crc32(body) !== prefix.bodyChecksum) return undefined;
  const header = parseHeader(prefix, body) as { bytes: number; meta: M }[];
  const entries: Entry<M>[] = [];
  let at = prefix.headerLength;
  for (const { bytes, meta } of header) {
    entries.push({ meta, payload: body.subarray(at, at + bytes) });
    at += bytes;
  }
  return at === body.length ? entries : undefined;
}

export function decodeFooter<S>(prefix: Prefix, body: Buffer): S | undefined {
  return crc32(body) === prefix.bodyChecksum ? (parseHeader(prefix, body) as S) : undefined;
}

/** Only called behind a checksum that held, so the JSON is the one that was written. */
function parseHeader(prefix: Prefix, body: Buffer): unknown {
  return JSON.parse(body.toString('utf8', 0, prefix.headerLength));
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
