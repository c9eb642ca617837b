import type { TraceId } from './record.ts';
import { PARENT_SPAN_ID_TAG, SPANS, TRACE_ID_TAG, Walker, WAY_TO_SPANS } from './walker.ts';
import { END_GROUP, START_GROUP } from './wire-reader.ts';

/** One span of a payload, in wire order. */
export type SpanSlice = {
  readonly traceId: TraceId;
  /** Whether its parent span id is empty or all zero. */
  readonly isRoot: boolean;
  /** Bytes that the span takes in its payload: tag, length and content. */
  readonly bytes: number;
};

/** The spans of a payload that `scanTraces` has passed, in wire order. Throws on other bytes. */
export function indexSpans(payload: Uint8Array): SpanSlice[] {
  const indexer = new Indexer(payload);
  indexer.message(0, payload.length);
  return indexer.spans;
}

/** Reads what the index keeps of one span, in steps, since a span may have as many fields as a request has bytes. */
export class SpanIndexer extends Walker {
  #traceIdAt = 0;
  #traceIdLength = 0;
  #isRoot = true;
  /** How many groups the cursor is in: what stands in a group is no field of the span. */
  #groups = 0;
  #lastIdAt = 0;
  #lastIdLength = 0;
  #lastId: TraceId = '';

  /** The cursor stands at the content of a span. */
  protected beginSpan(): void {
    this.#traceIdLength = 0;
    this.#isRoot = true;
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
      } else if (groups > 0 || (tag !== TRACE_ID_TAG && tag !== PARENT_SPAN_ID_TAG)) {
        this.skip(tag, end);
      } else if (tag === TRACE_ID_TAG) {
        this.#traceIdLength = this.length(end);
        this.#traceIdAt = reader.pos;
        reader.pos += this.#traceIdLength;
      } else {
        const parentEnd = this.length(end) + reader.pos;
        this.#isRoot = true;
        while (reader.pos < parentEnd) if (reader.bytes[reader.pos++] !== 0) this.#isRoot = false;
      }
    }
    this.#groups = groups;
    return left;
  }

  /** @param bytes of the span with its tag and length */
  protected endSpan(bytes: number): SpanSlice {
    return { traceId: this.#traceId(this.#traceIdAt, this.#traceIdLength), isRoot: this.#isRoot, bytes };
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
    }
  }
}
