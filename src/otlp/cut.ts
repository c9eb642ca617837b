import type { TraceId } from './record.ts';
import { add, headerOf, PARENT_SPAN_ID_TAG, SPANS, TRACE_ID_TAG, Walker, WAY_TO_SPANS } from './walker.ts';
import type { Pieces } from './walker.ts';

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

/**
 * A request with only the spans that `keep` picks by their position in wire order, made of slices of a payload
 * that `scanTraces` has passed. Every other field of what is around a kept span stays as it is and where it is,
 * unknown ones too; a ScopeSpans or ResourceSpans without a kept span is left out. Where nothing is left out,
 * this is the payload itself. Throws on other bytes.
 */
export function cutSpans(payload: Uint8Array, keep: (spanIndex: number) => boolean): Uint8Array {
  const cutter = new Cutter(payload, keep);
  const { pieces, length } = cutter.message(0, payload.length);
  return length === payload.length ? payload : Buffer.concat(pieces, length);
}

class Indexer extends Walker {
  readonly spans: SpanSlice[] = [];
  #idAt = 0;
  #idLength = 0;
  #id: TraceId = '';

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
      if (level === SPANS) this.#span(at, reader.pos + length);
      else this.message(level + 1, reader.pos + length);
    }
  }

  #span(start: number, end: number): void {
    const { reader } = this;
    let traceIdAt = 0;
    let traceIdLength = 0;
    let isRoot = true;
    while (reader.pos < end) {
      const tag = this.tag(end);
      if (tag === TRACE_ID_TAG) {
        traceIdLength = this.length(end);
        traceIdAt = reader.pos;
        reader.pos += traceIdLength;
      } else if (tag === PARENT_SPAN_ID_TAG) {
        const parentEnd = this.length(end) + reader.pos;
        isRoot = true;
        while (reader.pos < parentEnd) if (reader.bytes[reader.pos++] !== 0) isRoot = false;
      } else {
        this.skip(tag, end);
      }
    }
    this.spans.push({ traceId: this.#traceId(traceIdAt, traceIdLength), isRoot, bytes: end - start });
  }

  /** In hex. Neighbours mostly share their trace, so the last string is used again where it fits. */
  #traceId(at: number, length: number): TraceId {
    const { bytes } = this.reader;
    let same = length === this.#idLength;
    for (let i = 0; same && i < length; i++) same = bytes[at + i] === bytes[this.#idAt + i];
    if (!same) this.#id = Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('hex');
    this.#idAt = at;
    this.#idLength = length;
    return this.#id;
  }
}

type Kept = Pieces & { spans: number };

class Cutter extends Walker {
  readonly #keep: (spanIndex: number) => boolean;
  #nextSpan = 0;

  constructor(payload: Uint8Array, keep: (spanIndex: number) => boolean) {
    super(payload);
    this.#keep = keep;
  }

  message(level: number, end: number): Kept {
    const { reader } = this;
    const kept: Kept = { pieces: [], length: 0, spans: 0 };
    // Fields from here on are kept and not yet in the pieces.
    let from = reader.pos;
    while (reader.pos < end) {
      const at = reader.pos;
      const tag = this.tag(end);
      if (tag !== WAY_TO_SPANS[level]) {
        this.skip(tag, end);
        continue;
      }
      const length = this.length(end);
      const childEnd = reader.pos + length;
      let child: Kept | undefined;
      if (level === SPANS) {
        reader.pos = childEnd;
        if (this.#keep(this.#nextSpan++)) {
          kept.spans++;
          continue;
        }
      } else {
        child = this.message(level + 1, childEnd);
        kept.spans += child.spans;
        // Leaving something out always makes it shorter.
        if (child.length === length && child.spans > 0) continue;
      }
      this.#addRange(kept, from, at);
      if (child !== undefined && child.spans > 0) {
        add(kept, headerOf(tag, child.length));
        for (const piece of child.pieces) add(kept, piece);
      }
      from = childEnd;
    }
    this.#addRange(kept, from, end);
    return kept;
  }

  #addRange(kept: Kept, from: number, to: number): void {
    add(kept, this.reader.bytes.subarray(from, to));
  }
}
