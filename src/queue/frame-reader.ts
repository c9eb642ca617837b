import type { OpenFile } from './filesystem.ts';
import { PREFIX_SIZE, decodeFrame, decodePrefix } from './frame.ts';
import type { Entry, Prefix } from './frame.ts';

/** Read ahead of a reader. Payloads are copied out of it, so that a slow record does not pin its neighbours. */
const CHUNK_SIZE = 256 * 1024;

export type Step<M> =
  | { readonly kind: 'frame'; readonly offset: number; readonly end: number; readonly entries: Entry<M>[] }
  /** Bytes without a frame whose checksums hold; the next step is behind them. */
  | { readonly kind: 'damage'; readonly offset: number; readonly end: number }
  /** Nothing more before the limit, or a footer. */
  | { readonly kind: 'end'; readonly offset: number };

/** Reads the frames of one segment in order, each checked, and passes over what is damaged. */
export class FrameReader<M> {
  readonly #file: OpenFile;
  readonly #salt: number;
  #offset: number;
  #chunk: Buffer = Buffer.alloc(0);
  #chunkOffset = 0;
  #buffer: Buffer | undefined;

  constructor(file: OpenFile, salt: number, offset: number) {
    this.#file = file;
    this.#salt = salt;
    this.#offset = offset;
  }

  /** @param limit offset of the first byte that must not be read: the end of what is synced, or of the file */
  async next(limit: number): Promise<Step<M>> {
    const offset = this.#offset;
    if (offset >= limit) return { kind: 'end', offset };
    const bytes = await this.#bytes(offset, PREFIX_SIZE, limit);
    const prefix = decodePrefix(bytes, 0, this.#salt, offset);
    if (prefix === undefined) return this.#damage(await this.#findPrefix(offset + 1, limit));
    if (prefix.kind === 'footer') return { kind: 'end', offset };
    const end = offset + PREFIX_SIZE + prefix.headerLength + prefix.payloadLength;
    if (end > limit) return this.#damage(limit);
    const entries = await this.#entries(prefix, offset + PREFIX_SIZE, end);
    if (entries === undefined) return this.#damage(end);
    this.#offset = end;
    return { kind: 'frame', offset, end, entries };
  }

  #damage(end: number): Step<M> {
    const offset = this.#offset;
    this.#offset = end;
    return { kind: 'damage', offset, end };
  }

  async #entries(prefix: Prefix, offset: number, end: number): Promise<Entry<M>[] | undefined> {
    const length = end - offset;
    const body = await this.#bytes(offset, length, end);
    if (body.length < length) return undefined;
    const entries = decodeFrame<M>(prefix, body);
    if (length > CHUNK_SIZE) return entries; // had a buffer to itself
    return entries?.map(({ meta, payload }) => ({ meta, payload: Buffer.from(payload) }));
  }

  /** Offset of the next prefix whose checksum holds, or `limit`. */
  async #findPrefix(from: number, limit: number): Promise<number> {
    for (let at = from; at < limit;) {
      const bytes = await this.#bytes(at, Math.min(CHUNK_SIZE, limit - at), limit);
      for (let i = 0; i + PREFIX_SIZE <= bytes.length; i++) {
        if (decodePrefix(bytes, i, this.#salt, at + i) !== undefined) return at + i;
      }
      // A prefix may straddle two chunks.
      at += Math.max(bytes.length - PREFIX_SIZE + 1, 1);
    }
    return limit;
  }

  /** A view of `length` bytes at `offset`, fewer at the limit or the end of the file; good until the next call. */
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
    this.#chunk = ahead.subarray(0, await this.#file.read(ahead, offset));
    this.#chunkOffset = offset;
    return this.#chunk.subarray(0, wanted);
  }
}
