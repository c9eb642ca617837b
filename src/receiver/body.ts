import type { IncomingMessage } from 'node:http';
import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import { messageOf } from '../errors.ts';
import { endOfZstdFrame } from '../zstd-frame.ts';

/**
 * How a body is compressed. `deflate` is the zlib format (RFC 9110, 8.4.1.2), which is what OpenTelemetry
 * clients send under this name; bare deflate data is refused as damaged. A zstd body is one frame.
 */
export type Compression = 'identity' | 'gzip' | 'deflate' | 'zstd';

export type BodyResult =
  | { ok: true; body: Buffer }
  /** `aborted`: the client is gone. `busy`: too much is in hand. `damaged`: `message` says how. */
  | { ok: false; why: 'aborted' | 'too_large' | 'busy' }
  | { ok: false; why: 'damaged'; message: string };

/** A share of the memory for bodies; taken while a request is in hand, given back as a whole. */
export type Hold = { take(bytes: number): boolean; release(): void };

/** Bounds the bytes of all bodies in hand, so that many large requests cannot use up the memory. */
export function createBodyBudget(maxBytes: number): { hold(): Hold } {
  let taken = 0;
  return {
    hold() {
      let own = 0;
      return {
        take(bytes) {
          if (taken + bytes > maxBytes) return false;
          taken += bytes;
          own += bytes;
          return true;
        },
        release() {
          taken -= own;
          own = 0;
        },
      };
    },
  };
}

/**
 * Reads a body to its end and decompresses it; each form has at most `maxSize` bytes. After `too_large` and
 * `busy` the rest of the request is unread and its stream paused.
 */
export async function readBody(
  request: IncomingMessage,
  compression: Compression,
  maxSize: number,
  hold: Hold,
): Promise<BodyResult> {
  const raw = await collect(request, maxSize, hold);
  if (!raw.ok || compression === 'identity') return raw;
  return decompress(raw.body, compression, maxSize, hold);
}

function collect(request: IncomingMessage, maxSize: number, hold: Hold): Promise<BodyResult> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;

    function finish(result: BodyResult): void {
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      resolve(result);
    }
    function onData(chunk: Buffer): void {
      size += chunk.length;
      if (size <= maxSize && hold.take(chunk.length)) {
        chunks.push(chunk);
        return;
      }
      request.pause();
      finish({ ok: false, why: size > maxSize ? 'too_large' : 'busy' });
    }
    function onEnd(): void {
      finish({ ok: true, body: join(chunks) });
    }
    function onClose(): void {
      finish({ ok: false, why: 'aborted' });
    }
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

/**
 * Small bodies are decompressed in place: a thread costs more than the work. Up to these sizes that holds the
 * event loop for well under a millisecond; what turns out larger is done again in the thread pool.
 */
const IN_PLACE_INPUT = 16 * 1024;
const IN_PLACE_OUTPUT = 256 * 1024;

/** A window of 8 MiB is the largest that RFC 9659 lets a client use; it is what a frame can make us reserve. */
const ZSTD_PARAMS = { params: { [zlib.constants.ZSTD_d_windowLogMax]: 23 } };

const CODECS = {
  gzip: { inPlace: zlib.gunzipSync, stream: () => zlib.createGunzip() },
  deflate: { inPlace: zlib.inflateSync, stream: () => zlib.createInflate() },
  zstd: { inPlace: zlib.zstdDecompressSync, stream: () => zlib.createZstdDecompress(ZSTD_PARAMS) },
};

async function decompress(
  input: Buffer,
  compression: Exclude<Compression, 'identity'>,
  maxSize: number,
  hold: Hold,
): Promise<BodyResult> {
  if (compression === 'zstd') {
    const end = endOfZstdFrame(input);
    if (end === undefined) return damaged(compression, 'it is not a whole frame');
    if (end < input.length) return checkConsumed(input, end, input, compression);
  }
  const codec = CODECS[compression];
  if (input.length <= IN_PLACE_INPUT) {
    const limit = Math.min(maxSize, IN_PLACE_OUTPUT);
    try {
      const { buffer, engine } = codec.inPlace(input, {
        ...(compression === 'zstd' ? ZSTD_PARAMS : {}),
        maxOutputLength: limit,
        info: true,
      }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
      if (!hold.take(buffer.length)) return { ok: false, why: 'busy' };
      return checkConsumed(input, engine.bytesWritten, buffer, compression);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'ERR_BUFFER_TOO_LARGE') return damaged(compression, message);
    }
  }
  return decompressInThreads(input, codec.stream(), compression, maxSize, hold);
}

/** By stream, not by zlib's functions with a callback: what comes out is counted while it comes. */
async function decompressInThreads(
  input: Buffer,
  decoder: Transform & { readonly bytesWritten: number },
  compression: Compression,
  maxSize: number,
  hold: Hold,
): Promise<BodyResult> {
  const chunks: Buffer[] = [];
  let size = 0;
  decoder.end(input);
  try {
    // Leaving the loop destroys the decoder.
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxSize) return { ok: false, why: 'too_large' };
      if (!hold.take(chunk.length)) return { ok: false, why: 'busy' };
      chunks.push(chunk);
    }
  } catch (error) {
    return damaged(compression, messageOf(error));
  }
  return checkConsumed(input, decoder.bytesWritten, join(chunks), compression);
}

/** Node stops silently at the end of the compressed data; what stands behind it is not what was sent. */
function checkConsumed(input: Buffer, consumed: number, body: Buffer, compression: Compression): BodyResult {
  if (consumed === input.length) return { ok: true, body };
  const message = `${input.length - consumed} bytes follow the end of the ${compression} data`;
  return { ok: false, why: 'damaged', message };
}

function damaged(compression: Compression, reason: string): BodyResult {
  const message = `the body cannot be decompressed as ${compression}: ${reason}`;
  return { ok: false, why: 'damaged', message };
}

function join(chunks: readonly Buffer[]): Buffer {
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
