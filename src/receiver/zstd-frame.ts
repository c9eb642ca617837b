const MAGIC = 0xfd2fb528;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
const RLE = 1;

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
