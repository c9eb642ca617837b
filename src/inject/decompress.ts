import zlib from 'node:zlib';
import { messageOf } from '../errors.ts';
import { endOfSkippableFrame, endOfZstdFrame, isSkippableFrame } from '../zstd-frame.ts';

export type Decompressed =
  | { readonly ok: true; readonly bytes: Buffer }
  /** `problem` says what is wrong, and at which byte where that is known. */
  | { readonly ok: false; readonly problem: string };

/** Bytes that may come out in all, and how many of them are left; `decompress` counts. */
export type Budget = { readonly limit: number; left: number };

const GZIP = Buffer.of(0x1f, 0x8b);
const ZSTD = Buffer.of(0x28, 0xb5, 0x2f, 0xfd);

/**
 * What is compressed with gzip (RFC 1952) or zstd (RFC 8878), all members or frames of it; bytes that begin as neither
 * are given back as they are.
 */
export function decompress(bytes: Buffer, budget: Budget): Decompressed {
  if (startsWith(bytes, GZIP)) return decode(zlib.gunzipSync, bytes, 'its gzip data', budget);
  return startsWith(bytes, ZSTD) || isSkippableFrame(bytes)
    ? decompressFrames(bytes, budget)
    : { ok: true, bytes };
}

/** Node decompresses the first frame alone, and takes one that is cut off for a whole one. */
function decompressFrames(bytes: Buffer, budget: Budget): Decompressed {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const rest = bytes.subarray(at);
    const what = `zstd frame at byte ${at} of ${bytes.length}`;
    const isSkippable = isSkippableFrame(rest);
    if (!isSkippable && !startsWith(rest, ZSTD)) return problem(`there is no ${what}`);
    const end = isSkippable ? endOfSkippableFrame(rest) : endOfZstdFrame(rest);
    if (end === undefined) return problem(`the ${what} is cut off`);
    at += end;
    if (isSkippable) continue;
    const part = decode(zlib.zstdDecompressSync, rest.subarray(0, end), `the ${what}`, budget);
    if (!part.ok) return part;
    parts.push(part.bytes);
  }
  return { ok: true, bytes: Buffer.concat(parts) };
}

function decode(
  decoder: (bytes: Buffer, options: { maxOutputLength: number }) => Buffer,
  bytes: Buffer,
  what: string,
  budget: Budget,
): Decompressed {
  const tooLarge = `decompressed it has more than ${budget.limit} bytes: send it in parts`;
  try {
    // One more, as none at all is no limit that Node takes.
    const decoded = decoder(bytes, { maxOutputLength: budget.left + 1 });
    budget.left -= decoded.length;
    return budget.left < 0 ? problem(tooLarge) : { ok: true, bytes: decoded };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') return problem(tooLarge);
    return problem(code === 'Z_BUF_ERROR' ? `${what} is cut off` : `${what} is damaged: ${messageOf(error)}`);
  }
}

function problem(words: string): Decompressed {
  return { ok: false, problem: words };
}

function startsWith(bytes: Buffer, magic: Buffer): boolean {
  return bytes.subarray(0, magic.length).equals(magic);
}
