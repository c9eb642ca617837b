import { SpanIndexer } from './span-index.ts';
import type { SpanSlice } from './span-index.ts';
import { add, headerOf, SPANS, WAY_TO_SPANS } from './walker.ts';
import type { Pieces } from './walker.ts';
import { END_GROUP, START_GROUP } from './wire-reader.ts';

export type PartLimits = {
  readonly maxSpans: number;
  /** Bytes of spans, and of what is around them where it begins in the part. */
  readonly maxBytes: number;
};

/** Some spans of a payload: a request by itself. */
export type PayloadPart = {
  readonly payload: Uint8Array;
  /** As `indexSpans` gives them. */
  readonly spans: readonly SpanSlice[];
};

/** Fields that are read between two pauses: about a millisecond. */
const FIELDS_BETWEEN_PAUSES = 50_000;

/**
 * Splits a payload that `scanTraces` has passed into requests with some of its spans each, in wire order. Every part
 * repeats the resource and the scope of its spans with all their other fields; a span over the limit has a part of its
 * own. Where one part is all there is, it is the payload itself.
 *
 * Yields undefined where the caller should let others have their turn: the work is linear in the payload, and is done
 * in steps, whatever the payload is made of. Throws on other bytes.
 */
export function splitSpans(payload: Uint8Array, limits: PartLimits): Generator<PayloadPart | undefined> {
  return new Splitter(payload, limits).split();
}

/** A message around spans, while it is read. */
type Around = {
  /** Its fields that do not lead to spans. */
  readonly others: Uint8Array;
  /** Their bytes count for the part that is being made. */
  isCounted: boolean;
  /** What of it is in the part. */
  content: Pieces;
};

class Splitter extends SpanIndexer {
  readonly #payload: Uint8Array;
  readonly #limits: PartLimits;
  readonly #around: Around[] = [];
  #spans: SpanSlice[] = [];
  #bytes = 0;
  /** Spans that stand next to each other and are in the part, but not in its pieces yet. */
  #from = 0;
  #to = 0;
  #left = FIELDS_BETWEEN_PAUSES;

  constructor(payload: Uint8Array, limits: PartLimits) {
    super(payload);
    this.#payload = payload;
    this.#limits = limits;
  }

  *split(): Generator<PayloadPart | undefined> {
    yield* this.#message(0, this.#payload.length);
  }

  *#message(level: number, end: number): Generator<PayloadPart | undefined> {
    const { reader } = this;
    const start = reader.pos;
    const others = yield* this.#others(level, end);
    this.#around.push({ others, isCounted: false, content: { pieces: [], length: 0 } });
    reader.pos = start;
    for (let groups = 0; reader.pos < end;) {
      if (this.#left-- <= 0) yield this.#pause();
      const at = reader.pos;
      const tag = this.tag(end);
      if (groups > 0 || tag !== WAY_TO_SPANS[level]) {
        groups += this.#step(tag, end);
        continue;
      }
      const childEnd = this.length(end) + reader.pos;
      if (level === SPANS) yield* this.#span(at, childEnd);
      else if (reader.pos < childEnd) yield* this.#message(level + 1, childEnd);
    }
    if (level === 0) yield* this.#finish();
    else this.#leave();
  }

  *#span(start: number, end: number): Generator<PayloadPart | undefined> {
    const uncounted = this.#around.filter(({ isCounted }) => !isCounted);
    const need = uncounted.reduce((sum, { others }) => sum + others.length, end - start);
    const { maxSpans, maxBytes } = this.#limits;
    if (this.#spans.length > 0 && (this.#spans.length >= maxSpans || this.#bytes + need > maxBytes)) {
      yield* this.#finish();
      this.#bytes = end - start;
    } else {
      this.#bytes += need;
    }
    for (const around of uncounted) around.isCounted = true;
    this.beginSpan();
    while (this.reader.pos < end) {
      this.#left = this.spanFields(end, this.#left);
      if (this.#left <= 0) yield this.#pause();
    }
    this.#spans.push(this.endSpan(end - start));
    if (start !== this.#to) this.#addRange(start);
    this.#to = end;
  }

  /** The message at hand is read: what of it is in the part goes into the message around it. */
  #leave(): void {
    this.#addRange(0);
    this.#wrap(this.#around.length - 1);
    this.#around.pop();
  }

  /** The part is whole. What is around its last span goes on in the next. */
  *#finish(): Generator<PayloadPart> {
    if (this.#spans.length === 0) return;
    this.#addRange(0);
    for (let level = this.#around.length - 1; level > 0; level--) this.#wrap(level);
    const whole = this.#around[0]!;
    const { pieces, length } = whole.content;
    const bytes = whole.others.length + length;
    const payload =
      bytes === this.#payload.length ? this.#payload : Buffer.concat([whole.others, ...pieces], bytes);
    whole.content = { pieces: [], length: 0 };
    yield { payload, spans: this.#spans };
    this.#spans = [];
    this.#bytes = 0;
  }

  #wrap(level: number): void {
    const { others, content } = this.#around[level]!;
    if (content.length === 0) return;
    const parent = this.#around[level - 1]!.content;
    add(parent, headerOf(WAY_TO_SPANS[level - 1]!, others.length + content.length));
    add(parent, others);
    for (const piece of content.pieces) add(parent, piece);
    this.#around[level]!.content = { pieces: [], length: 0 };
  }

  /** Puts the range of spans into the pieces, and begins another. */
  #addRange(from: number): void {
    const around = this.#around.at(-1)!;
    add(around.content, this.reader.bytes.subarray(this.#from, this.#to));
    this.#from = from;
    this.#to = from;
  }

  /** The fields from the cursor on that do not lead to spans. Read twice, so that none of them needs a place in memory. */
  *#others(level: number, end: number): Generator<undefined, Uint8Array> {
    const start = this.reader.pos;
    let length = 0;
    for (const range of this.#ranges(level, end)) {
      if (range === undefined) yield this.#pause();
      else length += range.length;
    }
    if (length === end - start) return this.reader.bytes.subarray(start, end);
    const others = new Uint8Array(length);
    let at = 0;
    this.reader.pos = start;
    for (const range of this.#ranges(level, end)) {
      if (range === undefined) {
        yield this.#pause();
        continue;
      }
      others.set(range, at);
      at += range.length;
    }
    return others;
  }

  /** Ranges of such fields next to each other; undefined for a pause. */
  *#ranges(level: number, end: number): Generator<Uint8Array | undefined> {
    const { reader } = this;
    let from = reader.pos;
    for (let groups = 0; reader.pos < end;) {
      if (this.#left-- <= 0) yield undefined;
      const at = reader.pos;
      const tag = this.tag(end);
      if (groups > 0 || tag !== WAY_TO_SPANS[level]) {
        groups += this.#step(tag, end);
        continue;
      }
      reader.pos = this.length(end) + reader.pos;
      if (at > from) yield reader.bytes.subarray(from, at);
      from = reader.pos;
    }
    if (end > from) yield reader.bytes.subarray(from, end);
  }

  /** Over one field, or the mark of a group. @returns how many groups more the cursor is in */
  #step(tag: number, end: number): number {
    if ((tag & 7) === START_GROUP) return 1;
    if ((tag & 7) === END_GROUP) return -1;
    this.skip(tag, end);
    return 0;
  }

  #pause(): undefined {
    this.#left = FIELDS_BETWEEN_PAUSES;
    return undefined;
  }
}
