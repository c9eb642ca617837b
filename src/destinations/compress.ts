import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

const gzipAsync = promisify(gzip);

/** Below this, compression saves less than it costs. */
const SMALLEST_TO_COMPRESS = 1024;
/** Of zlib's output: for each chunk of the default 16 KiB the thread pool is asked anew. */
const SMALLEST_CHUNK = 64 * 1024;
/** Buffers kept between requests, and the largest that is: fresh ones for each would keep the garbage collector busy. */
const MOST_SPARE = 2;
const LARGEST_SPARE = 4 * 1024 * 1024;

const spare: Buffer[] = [];

export type Compressed = { body: Uint8Array; encoding: { readonly 'content-encoding'?: 'gzip' } };

/** The parts joined, by gzip where that pays (RFC 9110 section 8.4.1.3). */
export async function compress(parts: readonly Uint8Array[]): Promise<Compressed> {
  const size = parts.reduce((sum, part) => sum + part.byteLength, 0);
  if (size < SMALLEST_TO_COMPRESS) return { body: Buffer.concat(parts), encoding: {} };
  const buffer = takeSpare(size);
  try {
    let at = 0;
    for (const part of parts) {
      buffer.set(part, at);
      at += part.byteLength;
    }
    // Room for most of it at once.
    const chunkSize = Math.max(SMALLEST_CHUNK, Math.ceil(size / 4));
    const body = await gzipAsync(buffer.subarray(0, size), { level: 1, chunkSize });
    return { body, encoding: { 'content-encoding': 'gzip' } };
  } finally {
    // By then zlib has read all of it.
    if (spare.length < MOST_SPARE && buffer.byteLength <= LARGEST_SPARE) spare.push(buffer);
  }
}

function takeSpare(size: number): Buffer {
  const kept = spare.pop();
  return kept !== undefined && kept.byteLength >= size ? kept : Buffer.allocUnsafeSlow(size);
}
