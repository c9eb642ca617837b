import { mendTraces } from './mend.ts';
import type { Mending } from './mend.ts';
import { renameOldSpans } from './old-spans.ts';
import { Scanner } from './scanner.ts';
import type { Oversize } from './scanner.ts';
import { SpanIds } from './span-ids.ts';
import {
  headerOf,
  PARENT_SPAN_ID_TAG,
  SPANS,
  SPAN_ID_TAG,
  TRACE_ID_TAG,
  Walker,
  WAY_TO_SPANS,
} from './walker.ts';

export type SiftResult =
  | {
      ok: true;
      /** A request with the spans that are taken: some of the bytes that were given, moved, or others. */
      payload: Uint8Array;
      /** Spans in that payload. */
      spanCount: number;
      /** Spans that were left out because their ids are bad, and what is wrong with the first. */
      invalidSpanCount: number;
      problem?: string;
      /** Spans that were left out because what is around them is too large, and the first such place. */
      oversizeSpanCount: number;
      oversize?: Oversize;
      /** Spans that were left out because they or what is around them cannot be read, and what is wrong with the first. */
      unreadableSpanCount: number;
      unreadable?: string;
      /** Spans in which text was replaced, or in what is around which; and the first such place. */
      mendedSpanCount: number;
      mended?: string;
    }
  /** Not decodable, as `scanTraces` says. */
  | { ok: false; message: string };

/** Limits of the time that it may take; without limits unless given. */
export type SiftTime = {
  /** The smallest message has two bytes. */
  readonly mostMessages?: number;
  /** Bytes of a payload that has to be mended. */
  readonly mostMended?: number;
};

/** It would take more time; the bytes can be given again. */
export type TooMuch = { ok: false; tooMuch: true };

const USUAL_MENDING: Mending = { repair: true, maxSize: Infinity };

/**
 * Scans a request, as `scanTraces` does, and leaves out of it what cannot be taken: spans whose ids are bad, and the
 * spans around which there is too much. In that case, and where more than `maxOwnBytes` are empty ResourceSpans and
 * ScopeSpans, those without a span are left out too. All else stays as it is and where it is, as with `cutSpans`. What
 * scans would refuse a single span for, or a resource or scope, is dealt with by `mendTraces` before.
 *
 * Works in place, so that it needs no memory, whatever is in the payload, but for one that has to be mended: **the bytes
 * that are given are the payload's own, and what is left out is overwritten.** Never throws. Holds the thread while it
 * runs.
 *
 * @param maxOwnBytes the most that one ResourceSpans, or one ScopeSpans, may have beside the fields that lead to its
 * spans, and the request beside its ResourceSpans: all of that goes along wherever one of the spans goes
 */
export function siftTraces(bytes: Uint8Array, maxOwnBytes: number, mending?: Mending): SiftResult;
export function siftTraces(
  bytes: Uint8Array,
  maxOwnBytes: number,
  mending: Mending,
  time: SiftTime,
): SiftResult | TooMuch;
export function siftTraces(
  bytes: Uint8Array,
  maxOwnBytes: number,
  mending = USUAL_MENDING,
  { mostMessages, mostMended = Infinity }: SiftTime = {},
): SiftResult | TooMuch {
  const scan = () => {
    const scanner = new Scanner(bytes, maxOwnBytes, { mostMessages, isLenient: true });
    const isPassed = scanner.request();
    return { scanner, isPassed };
  };
  let { scanner, isPassed } = scan();
  if (isPassed && scanner.hasOldSpans) {
    renameOldSpans(bytes);
    ({ scanner, isPassed } = scan());
  }
  if (!isPassed) return scanner.hasTooMany ? { ok: false, tooMuch: true } : scanner.refusal();
  if (!scanner.needsMending) {
    const { invalidSpanCount, problem } = scanner;
    const found = { invalidSpanCount, ...(problem !== undefined && { problem }) };
    return { ...sifted(bytes, scanner, maxOwnBytes), ...found, unreadableSpanCount: 0, mendedSpanCount: 0 };
  }
  if (bytes.length > mostMended) return { ok: false, tooMuch: true };
  const { payload, ...found } = mendTraces(bytes, mending);
  const again = new Scanner(payload, maxOwnBytes);
  return again.request() ? { ...sifted(payload, again, maxOwnBytes, true), ...found } : again.refusal();
}

/** @param isMended what was left empty by it is left out */
function sifted(bytes: Uint8Array, scanner: Scanner, maxOwnBytes: number, isMended = false) {
  const { spanCount, invalidSpanCount, oversize, emptyBytes } = scanner;
  let payload = bytes;
  let kept = spanCount;
  if (isMended || invalidSpanCount > 0 || oversize !== undefined || emptyBytes > maxOwnBytes) {
    const sifter = new Sifter(bytes, maxOwnBytes);
    payload = sifter.request();
    kept = sifter.kept;
  }
  const oversizeSpanCount = spanCount - invalidSpanCount - kept;
  const found = { oversizeSpanCount, ...(oversize !== undefined && { oversize }) };
  return { ok: true as const, payload, spanCount: kept, ...found };
}

/** Moves what is kept to the front. What was written never reaches what is still to be read. */
class Sifter extends Walker {
  kept = 0;
  readonly #maxOwnBytes: number;
  readonly #ids = new SpanIds();
  /** Bytes that are written. */
  #out = 0;
  /** What follows them, from one offset to another: kept, and not moved yet. */
  #from = 0;
  #to = 0;

  constructor(payload: Uint8Array, maxOwnBytes: number) {
    super(payload);
    this.#maxOwnBytes = maxOwnBytes;
  }

  request(): Uint8Array {
    const { bytes } = this.reader;
    const inner = this.#fields(0, bytes.length);
    if (bytes.length - inner > this.#maxOwnBytes) {
      this.kept = 0;
      return bytes.subarray(0, 0);
    }
    this.#move();
    return bytes.subarray(0, this.#out);
  }

  /** Keeps the fields of a message above the spans; returns the bytes of those that lead to spans, kept or not. */
  #fields(level: number, end: number): number {
    const { reader } = this;
    let inner = 0;
    while (reader.pos < end) {
      const from = reader.pos;
      const tag = this.tag(end);
      if (tag !== WAY_TO_SPANS[level]) {
        this.skip(tag, end);
        this.#keep(from, reader.pos);
        continue;
      }
      const fieldEnd = this.length(end) + reader.pos;
      if (level < SPANS) {
        this.#envelope(level, tag, from, fieldEnd);
      } else if (this.#isGood(fieldEnd)) {
        this.kept++;
        this.#keep(from, fieldEnd);
      }
      inner += fieldEnd - from;
    }
    return inner;
  }

  /** Keeps a ResourceSpans or ScopeSpans, or takes back all of it where it is too large or no span of it was kept. */
  #envelope(level: number, tag: number, from: number, end: number): void {
    const begin = this.reader.pos;
    const place = this.#length;
    const keptBefore = this.kept;
    this.#keep(from, begin);
    const own = end - begin - this.#fields(level + 1, end);
    if (own > this.#maxOwnBytes) this.kept = keptBefore;
    if (this.kept === keptBefore) this.#takeBack(place);
    else if (this.#length - place < end - from) this.#shortenHeader(place, begin - from, tag);
  }

  #isGood(end: number): boolean {
    const { reader } = this;
    this.#ids.reset();
    while (reader.pos < end) {
      const tag = this.tag(end);
      if (tag === TRACE_ID_TAG) {
        this.#ids.traceIdLength = this.length(end);
        this.#ids.traceIdAt = reader.pos;
        reader.pos += this.#ids.traceIdLength;
      } else if (tag === SPAN_ID_TAG) {
        this.#ids.spanIdLength = this.length(end);
        this.#ids.spanIdAt = reader.pos;
        reader.pos += this.#ids.spanIdLength;
      } else if (tag === PARENT_SPAN_ID_TAG) {
        this.#ids.parentIdLength = this.length(end);
        reader.pos += this.#ids.parentIdLength;
      } else {
        this.skip(tag, end);
      }
    }
    return this.#ids.areGood(reader.bytes);
  }

  /** Bytes that are kept by now. */
  get #length(): number {
    return this.#out + this.#to - this.#from;
  }

  #keep(from: number, to: number): void {
    if (from !== this.#to) {
      this.#move();
      this.#from = from;
    }
    this.#to = to;
  }

  #move(): void {
    const { bytes } = this.reader;
    if (this.#out !== this.#from) bytes.copyWithin(this.#out, this.#from, this.#to);
    this.#out += this.#to - this.#from;
    this.#from = this.#to;
  }

  /** Keeps no more than the first `length` bytes of what is kept. */
  #takeBack(length: number): void {
    if (this.#out <= length) {
      this.#to = this.#from + length - this.#out;
    } else {
      this.#out = length;
      this.#from = this.#to;
    }
  }

  /** Gives the message that was kept at `place` the header for the content that is left of it. */
  #shortenHeader(place: number, oldSize: number, tag: number): void {
    this.#move();
    const { bytes } = this.reader;
    const header = headerOf(tag, this.#out - place - oldSize);
    bytes.copyWithin(place + header.length, place + oldSize, this.#out);
    bytes.set(header, place);
    this.#out -= oldSize - header.length;
  }
}
