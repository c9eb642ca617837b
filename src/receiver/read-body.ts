import { encodeTracesJsonNow } from '../otlp/json-encoder.ts';
import type { Encoding } from '../otlp/response.ts';
import { siftTraces } from '../otlp/sift.ts';
import type { SiftResult } from '../otlp/sift.ts';
import { decompress } from './decompress.ts';
import type { Compression } from './decompress.ts';

export type BodyFormat = { readonly encoding: Encoding; readonly compression: Compression };

export type BodyLimits = {
  /** Most bytes after decompression. */
  readonly maxSize: number;
  /** See `siftTraces`. */
  readonly maxOwnBytes: number;
  /** Most messages in it as protobuf; any number unless given. */
  readonly mostMessages?: number;
};

/** `tooLarge`: more bytes, or more messages, than the limits allow. */
export type ReadResult = SiftResult | { ok: false; tooLarge: true };

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
  { maxSize, maxOwnBytes, mostMessages }: BodyLimits,
  free: (bytes: Uint8Array) => void = () => {},
): ReadResult {
  let bytes = body;
  if (compression !== 'identity') {
    const decompressed = decompress(body, compression, maxSize);
    if (!decompressed.ok) {
      return decompressed.why === 'too_large'
        ? { ok: false, tooLarge: true }
        : { ok: false, message: decompressed.message };
    }
    free(body);
    bytes = decompressed.body;
  }
  if (encoding === 'json') {
    const encoded = encodeTracesJsonNow(bytes);
    if (!encoded.ok) return encoded;
    free(bytes);
    bytes = encoded.payload;
  }
  const sifted = siftTraces(bytes, maxOwnBytes, mostMessages);
  if ('tooManyMessages' in sifted) return { ok: false, tooLarge: true };
  if (!sifted.ok) return sifted;
  const { payload } = sifted;
  if (payload.buffer.byteLength <= 2 * payload.byteLength + MOST_SLACK) return sifted;
  const copy = new Uint8Array(payload);
  free(payload);
  return { ...sifted, payload: copy };
}
