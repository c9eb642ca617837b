import type { ProtobufWriter } from './protobuf-writer.ts';
import { MAX_DEPTH } from './schema.ts';
import type { SpanIds } from './span-ids.ts';
import { KEY_TAG } from './append-attribute.ts';
import { isText, writeMended } from './utf8.ts';
import type { WireReader } from './wire-reader.ts';
import { KEY_VALUE_TYPE, kindOf, MESSAGE, nameOfField, SKIP, TEXT } from './wire-table.ts';

/** Bytes of an attribute's key by which a place is named. */
const LONGEST_KEY = 100;

/** More places than these are not named. */
const MOST_PLACES = 8;

/** Copies what stands at a cursor to a writer, and mends text on the way. */
export class MessageMender {
  readonly #reader: WireReader;
  readonly #writer: ProtobufWriter;
  readonly #repair: boolean;
  readonly #ids: SpanIds;
  /** Offset up to which all was written, or is left out. */
  done = 0;
  /** Where text was mended: keys of attributes and names of fields. */
  readonly places = new Set<string>();
  /** The attribute that the cursor is in, from one offset to another: the outermost one. */
  #attributeAt = -1;
  #attributeEnd = 0;
  /** The last attribute that was named: each is looked through once, however many texts it has. */
  #namedAt = -1;

  /** @param repair false: text that is broken makes a message unreadable */
  constructor(reader: WireReader, writer: ProtobufWriter, repair: boolean, ids: SpanIds) {
    this.#reader = reader;
    this.#writer = writer;
    this.#repair = repair;
    this.#ids = ids;
  }

  /** Writes what is not written yet of the bytes before `to`. */
  copyTo(to: number): void {
    if (to > this.done) this.#writer.raw(this.#reader.bytes.subarray(this.done, to));
    this.done = to;
  }

  /** Goes back to what was written and done before. */
  rewind(written: number, done: number): void {
    this.#writer.rewind(written);
    this.done = done;
    this.#attributeAt = -1;
    this.#namedAt = -1;
  }

  /**
   * Copies the content of a message; the cursor stands at its beginning. False: it cannot be read, as the reader says.
   * Calls itself at most MAX_DEPTH deep.
   */
  message(type: number, end: number, depth: number): boolean {
    const reader = this.#reader;
    const isOutermost = type === KEY_VALUE_TYPE && this.#attributeAt === -1;
    if (isOutermost) {
      this.#attributeAt = reader.pos;
      this.#attributeEnd = end;
    }
    while (reader.pos < end) {
      const from = reader.pos;
      const tag = reader.tag(end);
      if (tag === -1) return false;
      if (!this.field(type, tag, from, end, depth)) return false;
    }
    if (isOutermost) this.#attributeAt = -1;
    return true;
  }

  /** Copies a field of a message of this type, from its tag on, which was read; or steps over it, to be copied with others. */
  field(type: number, tag: number, from: number, end: number, depth: number): boolean {
    const reader = this.#reader;
    const kind = kindOf(type, tag);
    if (kind === SKIP) return reader.skip(tag, end, depth);
    const length = reader.length(end);
    if (length === -1) return false;
    const at = reader.pos;
    const fieldEnd = at + length;
    if (kind === TEXT) {
      if (!isText(reader.bytes, at, fieldEnd) && !this.#text(type, tag, from, fieldEnd)) return false;
    } else if (kind >= MESSAGE) {
      if (depth === MAX_DEPTH) return reader.fail(at, `messages nested more than ${MAX_DEPTH} deep`);
      const begin = this.begin(tag, from);
      if (!this.message(kind - MESSAGE, fieldEnd, depth + 1)) return false;
      this.copyTo(fieldEnd);
      this.#writer.end(begin);
    } else {
      this.#ids.note(kind, at, length);
    }
    reader.pos = fieldEnd;
    return true;
  }

  /** Writes the tag of a message whose content is at the cursor, and begins it; to be ended by the writer. */
  begin(tag: number, from: number): number {
    this.copyTo(from);
    this.done = this.#reader.pos;
    this.#writer.uint32(tag);
    return this.#writer.begin();
  }

  #text(type: number, tag: number, from: number, end: number): boolean {
    const reader = this.#reader;
    const at = reader.pos;
    if (!this.#repair) return reader.fail(at, `invalid UTF-8 in ${nameOfField(type, tag >>> 3)}`);
    const begin = this.begin(tag, from);
    writeMended(reader.bytes, at, end, this.#writer);
    this.#writer.end(begin);
    this.done = end;
    this.#addPlace(type, tag);
    return true;
  }

  #addPlace(type: number, tag: number): void {
    const attributeAt = this.#attributeAt;
    if (this.places.size === MOST_PLACES || (attributeAt !== -1 && attributeAt === this.#namedAt)) return;
    this.#namedAt = attributeAt;
    const key = attributeAt === -1 ? undefined : this.#attributeKey(attributeAt);
    this.places.add(key ?? nameOfField(type, tag >>> 3));
  }

  /** Of the attribute that the cursor is in, if it has a key. */
  #attributeKey(attributeAt: number): string | undefined {
    const reader = this.#reader;
    const { pos } = reader;
    let key: string | undefined;
    reader.pos = attributeAt;
    while (reader.pos < this.#attributeEnd) {
      const tag = reader.tag(this.#attributeEnd);
      const length = tag === KEY_TAG ? reader.length(this.#attributeEnd) : 0;
      if (tag === -1 || length === -1) break;
      if (tag === KEY_TAG) {
        const to = reader.pos + Math.min(length, LONGEST_KEY);
        key = Buffer.from(reader.bytes.subarray(reader.pos, to)).toString('utf8');
        reader.pos += length;
      } else if (!reader.skip(tag, this.#attributeEnd, 0)) {
        break;
      }
    }
    reader.pos = pos;
    return key;
  }
}
