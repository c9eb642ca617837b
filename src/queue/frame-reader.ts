import type { OpenFile } from './filesystem.ts';
import { PREFIX_SIZE, decodeHeader, decodePayloads, decodePrefix } from './frame.ts';
import type { Entry } from './frame.ts';

/** Read ahead of a reader. Payloads are copied out of it, so that a slow record does not pin its neighbours. */
const CHUNK_SIZE = 256 * 1024;

export type Step<M> =
  | {
      readonly kind: 'frame';
      readonly offset: number;
      readonly end: number;
      readonly entries: Entry<M>[];
      /** Lengths of the payloads, also where these are not read. */
      readonly sizes: readonly number[];
    }
  /** A frame of a later version of the relay. */
  | { readonly kind: 'unknown'; readonly offset: number; readonly end: number }
  /** Bytes without a frame whose checksums hold. */
  | { readonly kind: 'damage'; readonly offset: number; readonly end: number }
  /** Nothing more before the limit; or a footer, behind which nothing comes. */
  | { readonly kind: 'end'; readonly offset: number; readonly isFooter: boolean };

/** Reads the frames of one segment in order, each checked, and passes over what is damaged. */
export class FrameReader<M> {
  readonly #file: OpenFile;
  readonly #salt: number;
  readonly #headersOnly: boolean;
  #offset: number;
  #chunk: Buffer = Buffer.alloc(0);
  #chunkOffset = 0;
  #buffer: Buffer | undefined;

  /** @param headersOnly payloads are neither read nor checked, and empty in the entries */
  constructor(file: OpenFile, salt: number, offset: number, headersOnly = false) {
    this.#file = file;
    this.#salt = salt;
    this.#offset = offset;
    this.#headersOnly = headersOnly;
  }

  /** @param limit offset of the first byte that must not be read: the end of what is synced, or of the file */
  async next(limit: number): Promise<Step<M>> {
    const offset = this.#offset;
    if (offset >= limit) return { kind: 'end', offset, isFooter: false };
    const prefix = decodePrefix(await this.#bytes(offset, PREFIX_SIZE, limit), 0, this.#salt, offset);
    if (prefix === undefined) return this.#damage(await this.#findPrefix(offset + 1, limit));
    if (prefix.kind === 'footer') return { kind: 'end', offset, isFooter: true };
    const payloadOffset = offset + PREFIX_SIZE + prefix.headerLength;
    const end = payloadOffset + prefix.payloadLength;
    if (end > limit) return this.#damage(limit);
    if (prefix.kind === 'unknown') {
      this.#offset = end;
      return { kind: 'unknown', offset, end };
    }
    const header = decodeHeader<M>(
      prefix,
      await this.#bytes(offset + PREFIX_SIZE, prefix.headerLength, limit),
    );
    if (header === undefined) return this.#damage(end);
    const entries = this.#headersOnly
      ? header.map(({ meta }) => ({ meta, payload: new Uint8Array() }))
      : decodePayloads(prefix, header, await this.#ownBytes(payloadOffset, prefix.payloadLength, end));
    if (entries === undefined) return this.#damage(end);
    this.#offset = end;
    return { kind: 'frame', offset, end, entries, sizes: header.map(({ bytes }) => bytes) };
  }

  /** Goes on behind a frame that was had from elsewhere. */
  passTo(offset: number): void {
    this.#offset = offset;
  }

  #damage(end: number): Step<M> {
    const offset = this.#offset;
    this.#offset = end;
    return { kind: 'damage', offset, end };
  }

  /** Offset of the next prefix whose checksum holds, or `limit`. */
  async #findPrefix(from: number, limit: number): Promise<number> {
    for (let at = from; limit - at >= PREFIX_SIZE;) {
      const bytes = await this.#bytes(at, Math.min(CHUNK_SIZE, limit - at), limit);
      if (bytes.length < PREFIX_SIZE) break;
      for (let i = 0; i + PREFIX_SIZE <= bytes.length; i++) {
        if (decodePrefix(bytes, i, this.#salt, at + i) !== undefined) return at + i;
      }
      // A prefix may straddle two chunks.
      at += bytes.length - PREFIX_SIZE + 1;
    }
    return limit;
  }

  /** Bytes that are nobody else's. */
  async #ownBytes(offset: number, length: number, limit: number): Promise<Buffer> {
    const bytes = await this.#bytes(offset, length, limit);
    return length > CHUNK_SIZE ? bytes : Buffer.from(bytes);
  }

  /** `length` bytes at `offset`, fewer at the limit or the end of the file; up to CHUNK_SIZE good until the next call. */
  async #bytes(offset: number, length: number, limit: number): Promise<Buffer> {
    const wanted = Math.min(length, limit - offset);
    const at = offset - this.#chunkOffset;
    if (at >= 0 && at + wanted <= this.#chunk.length) return this.#chunk.subarray(at, at + wanted);
    if (wanted > CHUNK_SIZE) {
      const whole = Buffer.allocUnsafeSlow(wanted);
      return whole.subarray(0, await this.#file.read(whole, offset));
    }
    this.#buffer ??= Buffer.allocUnsafeSlow(CHUNK_SIZE);
    const ahead = this.#buffer.subarray(0, Math.min(CHUNK_SIZE, limit - offset));
    this.#chunk = Buffer.alloc(0);
    // A bad sector further on must not keep what is in front of it.
    const available = await this.#file
      .read(ahead, offset)
      .catch(() => this.#file.read(ahead.subarray(0, wanted), offset));
    this.#chunk = ahead.subarray(0, available);
    this.#chunkOffset = offset;
    return this.#chunk.subarray(0, wanted);
  }
}
