const MAGIC = 0xfd2fb528;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
const RLE = 1;
const SKIPPABLE_HEADER_BYTES = 8;

/**
 * Where the zstd frame at the start of `bytes` ends (RFC 8878, 3.1.1), by its headers alone; undefined when there
 * is none or it is cut off. Node 22 decompresses a frame that is cut off without an error, to less than was sent.
 */
export function endOfZstdFrame(bytes: Buffer): number | undefined {
  if (bytes.length < 5 || bytes.readUInt32LE(0) !== MAGIC) return undefined;
  const descriptor = bytes[4]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const contentSizeBytes = sizeFlag === 0 && isSingleSegment ? 1 : CONTENT_SIZE_BYTES[sizeFlag]!;
  let pos = 5 + (isSingleSegment ? 0 : 1) + DICTIONARY_ID_BYTES[descriptor & 3]! + contentSizeBytes;

  let isLast = false;
  while (!isLast) {
    if (pos + 3 > bytes.length) return undefined;
    const header = bytes.readUIntLE(pos, 3);
    isLast = (header & 1) === 1;
    // A block of one repeated byte holds that byte, whatever its size.
    pos += 3 + (((header >> 1) & 3) === RLE ? 1 : header >> 3);
  }
  if ((descriptor & 4) !== 0) pos += 4; // checksum
  return pos <= bytes.length ? pos : undefined;
}

/** Whether a frame begins here that decoders step over (RFC 8878, 3.1.2), as pzstd and seekable zstd write them. */
export function isSkippableFrame(bytes: Buffer): boolean {
  // 0x184D2A50 to 0x184D2A5F.
  return bytes.length >= 4 && bytes.readUInt32LE(0) >>> 4 === 0x184d2a5;
}

/** Where the skippable frame at the start of `bytes` ends; undefined when there is none or it is cut off. */
export function endOfSkippableFrame(bytes: Buffer): number | undefined {
  if (!isSkippableFrame(bytes) || bytes.length < SKIPPABLE_HEADER_BYTES) return undefined;
  const end = SKIPPABLE_HEADER_BYTES + bytes.readUInt32LE(4);
  return end <= bytes.length ? end : undefined;
}
