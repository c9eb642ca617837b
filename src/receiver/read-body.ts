import { encodeSpansOfJson } from '../otlp/json-encoder.ts';
import type { Encoding } from '../otlp/response.ts';
import { siftTraces } from '../otlp/sift.ts';
import type { SiftResult, SiftTime } from '../otlp/sift.ts';
import { decompress } from './decompress.ts';
import type { Compression } from './decompress.ts';

export type BodyFormat = { readonly encoding: Encoding; readonly compression: Compression };

export type BodyLimits = {
  /** Most bytes after decompression. */
  readonly maxSize: number;
  /** See `siftTraces`. */
  readonly maxOwnBytes: number;
  /** Whether broken text is mended. */
  readonly repair: boolean;
  /** Most bytes of a payload that was mended. */
  readonly maxMendedSize: number;
} & SiftTime;

/** `isEmpty`: the body has nothing in it, and its sender meant that. */
export type TakenBody = Extract<SiftResult, { ok: true }> & { readonly isEmpty: boolean };

/** `tooLarge`: more bytes, or more to do, than the limits allow. */
export type ReadResult = TakenBody | Exclude<SiftResult, { ok: true }> | { ok: false; tooLarge: true };

/** A payload may stand in a buffer of twice its bytes and so many more; what would keep a larger one is copied. */
const MOST_SLACK = 1024;

/**
 * A body as protobuf, with what can be taken of it. What is given is used up, unless the result is `tooLarge`. Never
 * throws. Holds the thread while it runs: to be called beside the event loop for bodies that are not small. Needs up
 * to three times `maxSize`.
 * @param free is called with what is not needed any more
 */
export function readBodyNow(
  body: Uint8Array,
  { encoding, compression }: BodyFormat,
  limits: BodyLimits,
  free: (bytes: Uint8Array) => void = () => {},
): ReadResult {
  let bytes = body;
  if (compression !== 'identity') {
    const decompressed = decompress(body, compression, limits.maxSize);
    if (!decompressed.ok) {
      return decompressed.why === 'too_large'
        ? { ok: false, tooLarge: true }
        : { ok: false, message: decompressed.message };
    }
    free(body);
    bytes = decompressed.body;
  }
  const isEmpty = bytes.length === 0;
  if (encoding === 'protobuf') {
    const sifted = sift(bytes, limits, free);
    return sifted.ok ? compact({ ...sifted, isEmpty }, free) : sifted;
  }
  const encoded = encodeSpansOfJson(bytes);
  if (!encoded.ok) return encoded;
  free(bytes);
  const sifted = sift(encoded.payload, limits, free);
  if (!sifted.ok) return sifted;
  const unreadable = encoded.unreadable ?? sifted.unreadable;
  const taken = {
    ...sifted,
    isEmpty: encoded.isEmpty,
    unreadableSpanCount: sifted.unreadableSpanCount + encoded.unreadableSpanCount,
    ...(unreadable !== undefined && { unreadable }),
  };
  return compact(taken, free);
}

function sift(
  bytes: Uint8Array,
  limits: BodyLimits,
  free: (bytes: Uint8Array) => void,
): SiftResult | { ok: false; tooLarge: true } {
  const mending = { repair: limits.repair, maxSize: limits.maxMendedSize };
  const sifted = siftTraces(bytes, limits.maxOwnBytes, mending, limits);
  if ('tooMuch' in sifted) return { ok: false, tooLarge: true };
  // What was mended stands elsewhere.
  if (sifted.ok && sifted.payload.buffer !== bytes.buffer) free(bytes);
  return sifted;
}

/** With no more slack around its payload than is allowed. */
function compact(taken: TakenBody, free: (bytes: Uint8Array) => void): TakenBody {
  const { payload } = taken;
  if (payload.buffer.byteLength <= 2 * payload.byteLength + MOST_SLACK) return taken;
  const copy = new Uint8Array(payload);
  free(payload);
  return { ...taken, payload: copy };
}
