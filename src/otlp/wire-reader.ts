/** Wire types of protobuf (protobuf.dev/programming-guides/encoding). */
export const VARINT = 0;
export const FIXED64 = 1;
export const LEN = 2;
export const START_GROUP = 3;
export const END_GROUP = 4;
export const FIXED32 = 5;

/**
 * Groups nested within each other and in the message around them. One less than the limit for messages: the
 * pure Python parser counts so.
 */
const MAX_GROUP_DEPTH = 99;

/**
 * A cursor over protobuf bytes that takes what every common parser takes, and nothing more: tags and lengths
 * of at most 5 bytes within their range, varints of at most 10 bytes and 64 bits, each field within its parent,
 * groups with matching ends.
 *
 * Methods return false, or -1, on bad bytes; `problem` and `problemAt` then say what is wrong, and where.
 * It never throws and allocates nothing.
 */
export class WireReader {
  readonly bytes: Uint8Array;
  /** Offset of the next byte. */
  pos = 0;
  problem = '';
  problemAt = 0;

  constructor(bytes: Uint8Array) {
    // A Buffer is slower to slice, and two classes in one place slow down every access.
    this.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  fail(at: number, problem: string): false {
    this.problem = problem;
    this.problemAt = at;
    return false;
  }

  /** Reads a tag: field number << 3 | wire type, or -1. */
  tag(end: number): number {
    const at = this.pos;
    const tag = this.#varint32(end);
    if (tag === -1) {
      this.fail(at, 'a field tag that is cut off or too long');
      return -1;
    }
    if (tag < 8) {
      this.fail(at, 'field number 0');
      return -1;
    }
    return tag;
  }

  /** Reads the length of a field; -1 where it does not fit into the message around it. */
  length(end: number): number {
    const at = this.pos;
    const length = this.#varint32(end);
    if (length === -1) {
      this.fail(at, 'a length that is cut off or too long');
      return -1;
    }
    if (length > end - this.pos) {
      this.fail(at, 'a field longer than what is around it');
      return -1;
    }
    return length;
  }

  /** Steps over the value that belongs to a tag. `depth` is that of the message around it. */
  skip(tag: number, end: number, depth: number): boolean {
    switch (tag & 7) {
      case VARINT:
        return this.#skipVarint(end);
      case FIXED64:
        return this.#skipBytes(8, end);
      case LEN: {
        const length = this.length(end);
        if (length === -1) return false;
        this.pos += length;
        return true;
      }
      case START_GROUP:
        return this.#skipGroup(tag, end, depth + 1);
      case END_GROUP:
        return this.fail(this.pos, 'the end of a group that never began');
      case FIXED32:
        return this.#skipBytes(4, end);
      default:
        return this.fail(this.pos, `wire type ${tag & 7}, which does not exist`);
    }
  }

  /** An unsigned varint of at most 5 bytes and 32 bits, or -1. */
  #varint32(end: number): number {
    const { bytes } = this;
    let pos = this.pos;
    if (pos >= end) return -1;
    let byte = bytes[pos++]!;
    if (byte < 0x80) {
      this.pos = pos;
      return byte;
    }
    let value = byte & 0x7f;
    for (let shift = 7; shift < 28; shift += 7) {
      if (pos >= end) return -1;
      byte = bytes[pos++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.pos = pos;
        return value;
      }
    }
    if (pos >= end) return -1;
    byte = bytes[pos++]!;
    if (byte > 0x0f) return -1;
    this.pos = pos;
    return (value | (byte << 28)) >>> 0;
  }

  #skipVarint(end: number): boolean {
    const { bytes } = this;
    const start = this.pos;
    const last = Math.min(start + 9, end - 1);
    for (let pos = start; pos <= last; pos++) {
      const byte = bytes[pos]!;
      if (byte < 0x80) {
        this.pos = pos + 1;
        // 9 bytes hold 63 bits, so the tenth is worth one; some parsers drop the rest, others refuse it.
        return pos - start < 9 || byte <= 1 || this.fail(start, 'a number of more than 64 bits');
      }
    }
    return this.fail(start, 'a number that is cut off or too long');
  }

  #skipBytes(count: number, end: number): boolean {
    if (count > end - this.pos) return this.fail(this.pos, 'a number that is cut off');
    this.pos += count;
    return true;
  }

  #skipGroup(startTag: number, end: number, depth: number): boolean {
    if (depth > MAX_GROUP_DEPTH) return this.fail(this.pos, `nesting deeper than ${MAX_GROUP_DEPTH}`);
    const endTag = startTag - START_GROUP + END_GROUP;
    while (this.pos < end) {
      const tag = this.tag(end);
      if (tag === -1) return false;
      if (tag === endTag) return true;
      if (!this.skip(tag, end, depth)) return false;
    }
    return this.fail(this.pos, 'a group without its end');
  }
}
