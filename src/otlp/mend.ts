import { ATTRIBUTE_TAG, textAttribute } from './append-attribute.ts';
import { MessageMender } from './message-mender.ts';
import { ProtobufWriter } from './protobuf-writer.ts';
import { REPAIR_MARK } from './repair-mark.ts';
import { SpanIds } from './span-ids.ts';
import { SPANS, Walker, WAY_TO_SPANS } from './walker.ts';
import { LEN } from './wire-reader.ts';
import { kindOf, MESSAGE, RESOURCE_SPANS_TYPE, SCOPE_SPANS_TYPE, SPAN_TYPE } from './wire-table.ts';

export type Mended = {
  readonly payload: Uint8Array;
  /** Spans that were kept though text was replaced in them or in what is around them; and where this was first. */
  readonly mendedSpanCount: number;
  readonly mended?: string;
  /** Spans that were left out because they, or what is around them, cannot be read; and what is wrong with the first. */
  readonly unreadableSpanCount: number;
  readonly unreadable?: string;
  /** Spans that were left out because their ids are bad, and what is wrong with the first. */
  readonly invalidSpanCount: number;
  readonly problem?: string;
};

export type Mending = {
  /** False: broken text is not mended, and costs what has it. */
  readonly repair: boolean;
  /** Bytes that the payload may have afterwards; but for what was larger before. */
  readonly maxSize: number;
};

/** Mending may add as many bytes as a payload has, and these: so small ones are not limited by it. */
const FREE_GROWTH = 64 * 1024;

/** Of the messages on the way to spans, by their level. */
const TYPES = [0, RESOURCE_SPANS_TYPE, SCOPE_SPANS_TYPE] as const;

/** The resource or the scope in the message around it, and its attributes, by level. */
const OWN_TAG = (1 << 3) | LEN;
const OWN_ATTRIBUTES_TAGS = [0, (1 << 3) | LEN, (3 << 3) | LEN] as const;

/** At most so many bytes are the tags and lengths of what is written anew around a mark. */
const HEADERS = 16;

/**
 * A payload that a lenient scan has passed, as one that a strict scan passes: broken text is replaced, and what has it
 * is marked; spans that cannot be read, or whose ids are bad, are left out, and where a resource or scope cannot be read,
 * it and the spans under it. All other spans stay as they are, and so does the number of resources and scopes.
 *
 * A span is marked for its own text. A resource or a scope has a mark of its own, which goes with each of its spans: so
 * the mark stands where the text is, once, and no span is called mended that is as it came. Needs at most twice
 * the memory of the payload. Never throws. Holds the thread while it runs, some times as long as a scan.
 */
export function mendTraces(payload: Uint8Array, mending: Mending): Mended {
  return new Mender(payload, mending).request();
}

class Mender extends Walker {
  readonly #writer: ProtobufWriter;
  readonly #messages: MessageMender;
  readonly #ids = new SpanIds();
  /** Most bytes of the result. */
  readonly #most: number;
  #spanCount = 0;
  #mendedSpanCount = 0;
  #mended: string | undefined;
  #unreadableSpanCount = 0;
  #unreadable: string | undefined;
  #invalidSpanCount = 0;
  #problem: string | undefined;
  /** Of the ResourceSpans and the ScopeSpans at hand, by level. */
  readonly #indices = [0, 0, 0];
  /** Resources and scopes around the cursor that were mended. */
  #mendedAround = 0;

  constructor(payload: Uint8Array, { repair, maxSize }: Mending) {
    super(payload);
    const { length } = payload;
    this.#most = Math.max(length, Math.min(maxSize, 2 * length + FREE_GROWTH));
    this.#writer = new ProtobufWriter(this.#most);
    this.#messages = new MessageMender(this.reader, this.#writer, repair, this.#ids);
  }

  request(): Mended {
    const { bytes } = this.reader;
    this.#fields(0, bytes.length);
    return {
      payload: this.#writer.finish(),
      mendedSpanCount: this.#mendedSpanCount,
      ...(this.#mended !== undefined && { mended: this.#mended }),
      unreadableSpanCount: this.#unreadableSpanCount,
      ...(this.#unreadable !== undefined && { unreadable: this.#unreadable }),
      invalidSpanCount: this.#invalidSpanCount,
      ...(this.#problem !== undefined && { problem: this.#problem }),
    };
  }

  /** The fields of a message above the spans, with what leads to these. `mark`: goes into what is beside it. */
  #fields(level: number, end: number, mark?: Uint8Array): void {
    const { reader } = this;
    const messages = this.#messages;
    const type = TYPES[level]!;
    let isMarked = mark === undefined;
    for (let child = 0; reader.pos < end;) {
      const from = reader.pos;
      const tag = this.tag(end);
      if (tag === WAY_TO_SPANS[level]) {
        const childEnd = this.length(end) + reader.pos;
        if (level === SPANS) this.#span(from, childEnd);
        else this.#envelope(level + 1, child, from, childEnd);
        reader.pos = childEnd;
        child++;
      } else if (!isMarked && tag === OWN_TAG) {
        const fieldEnd = this.length(end) + reader.pos;
        const begin = messages.begin(tag, from);
        messages.message(kindOf(type, tag) - MESSAGE, fieldEnd, level + 1);
        messages.copyTo(fieldEnd);
        this.#writer.raw(mark!);
        this.#writer.end(begin);
        isMarked = true;
      } else {
        messages.field(type, tag, from, end, level);
      }
    }
    messages.copyTo(end);
    if (isMarked) return;
    this.#writer.uint32(OWN_TAG);
    this.#writer.bytes(mark!);
  }

  /** A ResourceSpans or ScopeSpans whose field begins at `from`; where it cannot be read, an empty one is left of it. */
  #envelope(level: number, index: number, from: number, end: number): void {
    const { reader } = this;
    const messages = this.#messages;
    const content = reader.pos;
    this.#indices[level] = index;
    const begin = messages.begin(WAY_TO_SPANS[level - 1]!, from);
    const beside = this.#beside(level, end);
    reader.pos = content;
    if (beside.fault === undefined) {
      const { mark } = beside;
      if (mark !== undefined) {
        this.#mended ??= `${this.#placeOf(level)}: ${beside.first}`;
        this.#mendedAround++;
      }
      this.#fields(level, end, mark);
      if (mark !== undefined) this.#mendedAround--;
    } else {
      const lost = this.#countSpans(level, end);
      if (lost > 0) this.#unreadable ??= `under ${this.#placeOf(level)}: ${beside.fault}`;
      this.#spanCount += lost;
      this.#unreadableSpanCount += lost;
      messages.done = end;
    }
    this.#writer.end(begin);
  }

  /** Tries what is beside the way to the spans. @returns what is wrong with it, or the mark and the first place of what is mended */
  #beside(level: number, end: number): { fault?: string; mark?: Uint8Array; first?: string } {
    const { reader } = this;
    const messages = this.#messages;
    const content = reader.pos;
    const written = this.#writer.length;
    let ownBytes = 0;
    let isReadable = true;
    messages.places.clear();
    while (isReadable && reader.pos < end) {
      const from = reader.pos;
      const tag = this.tag(end);
      if (tag === WAY_TO_SPANS[level]) {
        const childEnd = this.length(end) + reader.pos;
        reader.pos = childEnd;
        continue;
      }
      messages.done = from;
      isReadable = messages.field(TYPES[level]!, tag, from, end, level);
      messages.copyTo(reader.pos);
      ownBytes += reader.pos - from;
    }
    const growth = this.#writer.length - written - ownBytes;
    messages.rewind(written, content);
    if (!isReadable) return { fault: reader.problem };
    const [first] = messages.places;
    if (first === undefined) return {};
    const mark = this.#markOf(OWN_ATTRIBUTES_TAGS[level]!);
    return this.#hasRoom(growth + mark.length + HEADERS, content)
      ? { mark, first }
      : { fault: this.#fullWords() };
  }

  /** Of the ResourceSpans or ScopeSpans at hand, for people. */
  #placeOf(level: number): string {
    const [, resource, scope] = this.#indices;
    const inner = level === SPANS ? `ScopeSpans ${scope} of ` : '';
    return `${inner}ResourceSpans ${resource} (counted from 0)`;
  }

  #countSpans(level: number, end: number): number {
    const { reader } = this;
    let count = 0;
    while (reader.pos < end) {
      const tag = this.tag(end);
      if (tag !== WAY_TO_SPANS[level]) {
        this.skip(tag, end);
        continue;
      }
      const childEnd = this.length(end) + reader.pos;
      count += level === SPANS ? 1 : this.#countSpans(level + 1, childEnd);
      reader.pos = childEnd;
    }
    return count;
  }

  /** The span whose field begins at `from`. */
  #span(from: number, end: number): void {
    const messages = this.#messages;
    const writer = this.#writer;
    const index = this.#spanCount++;
    messages.copyTo(from);
    const written = writer.length;
    messages.places.clear();
    this.#ids.reset();
    const begin = messages.begin(WAY_TO_SPANS[SPANS]!, from);
    let fault: string | undefined;
    if (!messages.message(SPAN_TYPE, end, SPANS + 1)) {
      fault = this.reader.problem;
    } else if (!this.#ids.areGood(this.reader.bytes)) {
      this.#invalidSpanCount++;
      this.#problem ??= `${nameOf(index)}: ${this.#ids.problem(this.reader.bytes)}`;
      messages.rewind(written, end);
      return;
    } else if (messages.places.size === 0) {
      // It is copied as it came, with those beside it.
      messages.rewind(written, from);
      if (this.#mendedAround > 0) this.#mendedSpanCount++;
      return;
    } else {
      messages.copyTo(end);
      writer.raw(this.#markOf(ATTRIBUTE_TAG));
      writer.end(begin);
      if (!this.#hasRoom(0, end)) fault = this.#fullWords();
    }
    if (fault === undefined) {
      this.#mendedSpanCount++;
      this.#mended ??= `${nameOf(index)}: ${[...messages.places][0]}`;
    } else {
      this.#unreadableSpanCount++;
      this.#unreadable ??= `${nameOf(index)}: ${fault}`;
      messages.rewind(written, end);
    }
  }

  #markOf(attributesTag: number): Uint8Array {
    const places = [...this.#messages.places].join(', ');
    return textAttribute(REPAIR_MARK, `U+FFFD in place of broken text: ${places}`, attributesTag);
  }

  /** Whether so many bytes more, and all that is not read yet, still have room. */
  #hasRoom(more: number, position: number): boolean {
    return this.#writer.length + more + this.reader.bytes.length - position <= this.#most;
  }

  #fullWords(): string {
    return `with its broken text replaced, the request would have more than ${this.#most} bytes`;
  }
}

function nameOf(index: number): string {
  return `span ${index} (counted from 0)`;
}
