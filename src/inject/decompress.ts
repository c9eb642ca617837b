import zlib from 'node:zlib';
import { messageOf } from '../errors.ts';
import { endOfZstdFrame } from '../receiver/zstd-frame.ts';

export type Decompressed =
  | { readonly ok: true; readonly bytes: Buffer }
  /** `problem` says what is wrong, and at which byte where that is known. */
  | { readonly ok: false; readonly problem: string };

const GZIP = Buffer.of(0x1f, 0x8b);
const ZSTD = Buffer.of(0x28, 0xb5, 0x2f, 0xfd);

/**
 * What is compressed with gzip (RFC 1952) or zstd (RFC 8878), all members or frames of it, to at most `limit` bytes;
 * bytes that begin as neither are given back as they are.
 */
export function decompress(bytes: Buffer, limit: number): Decompressed {
  if (startsWith(bytes, GZIP)) return gunzip(bytes, limit);
  return startsWith(bytes, ZSTD) ? decompressFrames(bytes, limit) : { ok: true, bytes };
}

function gunzip(bytes: Buffer, limit: number): Decompressed {
  try {
    return { ok: true, bytes: zlib.gunzipSync(bytes, { maxOutputLength: limit }) };
  } catch (error) {
    return problem('its gzip data', error, limit);
  }
}

/** Node decompresses the first frame alone, and takes one that is cut off for a whole one. */
function decompressFrames(bytes: Buffer, limit: number): Decompressed {
  const parts: Buffer[] = [];
  let size = 0;
  for (let at = 0; at < bytes.length;) {
    const rest = bytes.subarray(at);
    const end = endOfZstdFrame(rest);
    const what = `the zstd frame at byte ${at} of ${bytes.length}`;
    if (end === undefined) {
      return { ok: false, problem: `${what} ${startsWith(rest, ZSTD) ? 'is cut off' : 'is none'}` };
    }
    try {
      // One more, as none at all is no limit that Node takes.
      const part = zlib.zstdDecompressSync(rest.subarray(0, end), { maxOutputLength: limit - size + 1 });
      size += part.length;
      parts.push(part);
    } catch (error) {
      return problem(what, error, limit);
    }
    if (size > limit) return tooLarge(limit);
    at += end;
  }
  return { ok: true, bytes: Buffer.concat(parts) };
}

function problem(what: string, error: unknown, limit: number): Decompressed {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ERR_BUFFER_TOO_LARGE') return tooLarge(limit);
  if (code === 'Z_BUF_ERROR') return { ok: false, problem: `${what} is cut off` };
  return { ok: false, problem: `${what} is damaged: ${messageOf(error)}` };
}

function tooLarge(limit: number): Decompressed {
  return { ok: false, problem: `decompressed it has more than ${limit} bytes: send it in parts` };
}

function startsWith(bytes: Buffer, magic: Buffer): boolean {
  return bytes.subarray(0, magic.length).equals(magic);
}
