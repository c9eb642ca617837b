import type { TraceId } from './record.ts';
import {
  END_TIME_TAG,
  PARENT_SPAN_ID_TAG,
  SPAN_ID_TAG,
  SPANS,
  TRACE_ID_TAG,
  Walker,
  WAY_TO_SPANS,
} from './walker.ts';
import { END_GROUP, START_GROUP } from './wire-reader.ts';

/** One span of a payload, in wire order. */
export type SpanSlice = {
  readonly traceId: TraceId;
  /** The first and the last four bytes of its span id, as signed integers: these need no memory of their own. */
  readonly idHigh: number;
  readonly idLow: number;
  /** Whether its parent span id is empty or all zero. */
  readonly isRoot: boolean;
  /** Whether it has an end time: one without it is a snapshot of a span that goes on. */
  readonly hasEnd: boolean;
  /** Bytes that the span takes in its payload: tag, length and content. */
  readonly bytes: number;
};

/** The spans of a payload that `scanTraces` has passed, in wire order. Throws on other bytes. */
export function indexSpans(payload: Uint8Array): SpanSlice[] {
  const indexer = new Indexer(payload);
  indexer.message(0, payload.length);
  return indexer.spans;
}

/** Where each span of such a payload ends, in wire order. */
export function spanEnds(payload: Uint8Array): Uint32Array {
  const ends: number[] = [];
  new Indexer(payload, ends).message(0, payload.length);
  return Uint32Array.from(ends);
}

/** Reads what the index keeps of one span, in steps, since a span may have as many fields as a request has bytes. */
export class SpanIndexer extends Walker {
  #traceIdAt = 0;
  #traceIdLength = 0;
  #idHigh = 0;
  #idLow = 0;
  #isRoot = true;
  #hasEnd = false;
  /** How many groups the cursor is in: what stands in a group is no field of the span. */
  #groups = 0;
  #lastIdAt = 0;
  #lastIdLength = 0;
  #lastId: TraceId = '';

  /** The cursor stands at the content of a span. */
  protected beginSpan(): void {
    this.#traceIdLength = 0;
    this.#idHigh = 0;
    this.#idLow = 0;
    this.#isRoot = true;
    this.#hasEnd = false;
    this.#groups = 0;
  }

  /** Reads up to so many fields of the span that ends at `end`. @returns how many of these are left */
  protected spanFields(end: number, most: number): number {
    const { reader } = this;
    let left = most;
    let groups = this.#groups;
    for (; reader.pos < end && left > 0; left--) {
      const tag = this.tag(end);
      const wireType = tag & 7;
      if (wireType === START_GROUP) {
        groups++;
      } else if (wireType === END_GROUP) {
        groups--;
      } else if (groups > 0) {
        this.skip(tag, end);
      } else if (tag === TRACE_ID_TAG) {
        this.#traceIdLength = this.length(end);
        this.#traceIdAt = reader.pos;
        reader.pos += this.#traceIdLength;
      } else if (tag === SPAN_ID_TAG) {
        const length = this.length(end);
        // What stands behind a shorter one is not of it.
        this.#idHigh = length === 8 ? this.#integer(reader.pos) : 0;
        this.#idLow = length === 8 ? this.#integer(reader.pos + 4) : 0;
        reader.pos += length;
      } else if (tag === PARENT_SPAN_ID_TAG) {
        const parentEnd = this.length(end) + reader.pos;
        this.#isRoot = true;
        while (reader.pos < parentEnd) if (reader.bytes[reader.pos++] !== 0) this.#isRoot = false;
      } else if (tag === END_TIME_TAG) {
        this.#hasEnd = (this.#integer(reader.pos) | this.#integer(reader.pos + 4)) !== 0;
        this.skip(tag, end);
      } else {
        this.skip(tag, end);
      }
    }
    this.#groups = groups;
    return left;
  }

  /** @param bytes of the span with its tag and length */
  protected endSpan(bytes: number): SpanSlice {
    return {
      traceId: this.#traceId(this.#traceIdAt, this.#traceIdLength),
      idHigh: this.#idHigh,
      idLow: this.#idLow,
      isRoot: this.#isRoot,
      hasEnd: this.#hasEnd,
      bytes,
    };
  }

  /** Of four bytes, the highest first. */
  #integer(at: number): number {
    const { bytes } = this.reader;
    return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  }

  /** In hex. Neighbours mostly share their trace, so the last string is used again where it fits. */
  #traceId(at: number, length: number): TraceId {
    const { bytes } = this.reader;
    let same = length === this.#lastIdLength;
    for (let i = 0; same && i < length; i++) same = bytes[at + i] === bytes[this.#lastIdAt + i];
    if (!same) this.#lastId = Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('hex');
    this.#lastIdAt = at;
    this.#lastIdLength = length;
    return this.#lastId;
  }
}

class Indexer extends SpanIndexer {
  readonly spans: SpanSlice[] = [];
  readonly #ends: number[] | undefined;

  constructor(payload: Uint8Array, ends?: number[]) {
    super(payload);
    this.#ends = ends;
  }

  message(level: number, end: number): void {
    const { reader } = this;
    while (reader.pos < end) {
      const at = reader.pos;
      const tag = this.tag(end);
      if (tag !== WAY_TO_SPANS[level]) {
        this.skip(tag, end);
        continue;
      }
      const length = this.length(end);
      const childEnd = reader.pos + length;
      if (level !== SPANS) {
        this.message(level + 1, childEnd);
        continue;
      }
      this.beginSpan();
      this.spanFields(childEnd, Infinity);
      this.spans.push(this.endSpan(childEnd - at));
      this.#ends?.push(childEnd);
    }
  }
}
