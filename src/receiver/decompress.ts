import zlib from 'node:zlib';
import { endOfZstdFrame } from '../zstd-frame.ts';

/**
 * How a body is compressed. `deflate` is the zlib format, or, as some clients send it under this name, deflate data
 * without that (RFC 9110, 8.4.1.2, note). A zstd body is one frame.
 */
export type Compression = 'identity' | 'gzip' | 'deflate' | 'zstd';

export type Decompressed =
  | { ok: true; body: Buffer<ArrayBuffer> }
  | { ok: false; why: 'too_large' }
  /** `message` says how. */
  | { ok: false; why: 'damaged'; message: string };

/** A window of 8 MiB is the largest that RFC 9659 lets a client use; it is what a frame can make us reserve. */
const ZSTD_PARAMS = { params: { [zlib.constants.ZSTD_d_windowLogMax]: 23 } };

const DECOMPRESS = {
  gzip: zlib.gunzipSync,
  deflate: zlib.inflateSync,
  bare: zlib.inflateRawSync,
  zstd: zlib.zstdDecompressSync,
};

/** Up to this size the output is put together from pieces; a larger one is written where it stays. */
const IN_PIECES = 256 * 1024;

/**
 * Decompresses a body to at most `maxSize` bytes. Holds the thread while it runs. Beside what comes out it needs the
 * memory of one window: the output buffer is reserved whole, but of what is not written no memory is used.
 */
export function decompress(
  input: Uint8Array,
  compression: Exclude<Compression, 'identity'>,
  maxSize: number,
): Decompressed {
  if (compression === 'zstd') {
    const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
    const end = endOfZstdFrame(bytes);
    if (end === undefined) return damaged(compression, 'it is not a whole frame');
    if (end < input.length) return moreFollows(compression, input.length - end);
  }
  try {
    const { buffer, engine } = DECOMPRESS[isBare(input, compression) ? 'bare' : compression](input, {
      ...(compression === 'zstd' ? ZSTD_PARAMS : {}),
      ...(maxSize > IN_PIECES ? { chunkSize: maxSize + 1 } : {}),
      maxOutputLength: maxSize,
      info: true,
    }) as unknown as { buffer: Buffer<ArrayBuffer>; engine: { bytesWritten: number } };
    // Node stops silently at the end of the compressed data; what stands behind it is not what was sent.
    const more = input.length - engine.bytesWritten;
    return more > 0 ? moreFollows(compression, more) : { ok: true, body: buffer };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ERR_BUFFER_TOO_LARGE' ? { ok: false, why: 'too_large' } : damaged(compression, message);
  }
}

/**
 * Deflate data without the two bytes of zlib before it (RFC 1950, 2.2). With these two it could only be taken for data that
 * begins with a stored block and bits that are skipped but set, which no encoder writes.
 */
function isBare(input: Uint8Array, compression: Compression): boolean {
  if (compression !== 'deflate' || input.length < 2) return false;
  const [method, flags] = input as unknown as [number, number];
  return (method & 0x0f) !== 8 || (method * 256 + flags) % 31 !== 0;
}

function moreFollows(compression: Compression, bytes: number): Decompressed {
  return { ok: false, why: 'damaged', message: `${bytes} bytes follow the end of the ${compression} data` };
}

function damaged(compression: Compression, reason: string): Decompressed {
  const message = `the body cannot be decompressed as ${compression}: ${reason}`;
  return { ok: false, why: 'damaged', message };
}
