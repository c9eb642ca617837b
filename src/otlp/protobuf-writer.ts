/**
 * Writes protobuf into bytes that grow, and nothing else: protobufjs keeps an object of about a hundred bytes for
 * every tag and number until the end, which for a body of `{}` is a hundred times the body.
 */
export class ProtobufWriter {
  #bytes: Buffer<ArrayBuffer>;
  #pos = 0;

  /** @param expected bytes that will be enough, mostly */
  constructor(expected: number) {
    this.#bytes = Buffer.allocUnsafeSlow(expected + 16);
  }

  /** Bytes that were written. */
  get length(): number {
    return this.#pos;
  }

  /** Takes back all but so many bytes, and with them what began behind those. */
  rewind(length: number): void {
    this.#pos = length;
  }

  /** What was written. The writer must not be used after it. */
  finish(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#bytes.buffer, 0, this.#pos);
  }

  /** An unsigned integer of 32 bits; tags are such. */
  uint32(value: number): void {
    this.#reserve(5);
    let rest = value >>> 0;
    for (; rest > 0x7f; rest >>>= 7) this.#bytes[this.#pos++] = (rest & 0x7f) | 0x80;
    this.#bytes[this.#pos++] = rest;
  }

  /** An integer of 32 or 64 bits, negative ones in ten bytes. */
  integer(value: number | bigint): void {
    if (typeof value === 'number' && value >= 0 && value <= 0xffffffff) {
      this.uint32(value);
      return;
    }
    this.#reserve(10);
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest > 0x7fn; rest >>= 7n) this.#bytes[this.#pos++] = Number(rest & 0x7fn) | 0x80;
    this.#bytes[this.#pos++] = Number(rest);
  }

  fixed32(value: number): void {
    this.#reserve(4);
    this.#pos = this.#bytes.writeUInt32LE(value, this.#pos);
  }

  fixed64(value: number | bigint): void {
    this.#reserve(8);
    this.#pos = this.#bytes.writeBigUInt64LE(BigInt(value), this.#pos);
  }

  double(value: number): void {
    this.#reserve(8);
    this.#pos = this.#bytes.writeDoubleLE(value, this.#pos);
  }

  /** Bytes with their length before them. */
  bytes(value: Uint8Array): void {
    this.uint32(value.length);
    this.raw(value);
  }

  /** Bytes as they are. */
  raw(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#pos);
    this.#pos += value.length;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#pos++] = value;
  }

  /** A Unicode code point, no surrogate, in UTF-8. */
  codePoint(value: number): void {
    this.#reserve(4);
    const bytes = this.#bytes;
    if (value < 0x80) {
      bytes[this.#pos++] = value;
      return;
    }
    let shift = 6;
    if (value < 0x800) {
      bytes[this.#pos++] = 0xc0 | (value >> 6);
    } else if (value < 0x10000) {
      bytes[this.#pos++] = 0xe0 | (value >> 12);
      shift = 12;
    } else {
      bytes[this.#pos++] = 0xf0 | (value >> 18);
      shift = 18;
    }
    while (shift > 0) {
      shift -= 6;
      bytes[this.#pos++] = 0x80 | ((value >> shift) & 0x3f);
    }
  }

  /** Begins a message, or bytes whose number is not known yet; returns what `end` needs. */
  begin(): number {
    this.#reserve(1);
    return ++this.#pos;
  }

  /**
   * Ends what began there. A length has one byte mostly; where it needs more, the content is moved, which each byte
   * meets at most once a level, and memory moves a hundred times faster than JSON is read.
   */
  end(begin: number): void {
    const length = this.#pos - begin;
    if (length <= 0x7f) {
      this.#bytes[begin - 1] = length;
      return;
    }
    let more = 0;
    for (let rest = length >>> 7; rest > 0; rest >>>= 7) more++;
    this.#reserve(more);
    this.#bytes.copyWithin(begin + more, begin, this.#pos);
    const end = this.#pos + more;
    this.#pos = begin - 1;
    this.uint32(length);
    this.#pos = end;
  }

  #reserve(count: number): void {
    const needed = this.#pos + count;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#pos));
    this.#bytes = larger;
  }
}
