const MIN_SEGMENT_SIZE = 64 * 1024;
/** A start reads all of the segment that was being written, and the headers of the one that a reader is in. */
const MAX_SEGMENT_SIZE = 32 * 1024 * 1024;
/** A log is cut into about so many segments, so that removing from its front frees space in time. */
const SEGMENTS_PER_LOG = 16;

/** Bytes after which a log of this size goes on in another segment. */
export function segmentSizeOf(maxBytes: number): number {
  const share = Math.floor(maxBytes / SEGMENTS_PER_LOG);
  return Math.min(Math.max(share, MIN_SEGMENT_SIZE), MAX_SEGMENT_SIZE);
}
