import { readAnyValue } from './any-value.ts';
import type { AttributeValue } from './any-value.ts';
import { add, headerOf, SPANS, Walker, WAY_TO_SPANS } from './walker.ts';
import type { Pieces } from './walker.ts';
import { FIXED64, LEN } from './wire-reader.ts';

export { LARGE_LIST, LARGE_MAP, LARGEST_VALUE } from './any-value.ts';
export type { AttributeValue, PlainValue } from './any-value.ts';

/** What can be changed in a span, as it stands on the wire. */
export type EditableSpan = {
  /** Nanoseconds since the epoch, unsigned; 0 where it is missing. */
  readonly start: bigint;
  readonly end: bigint;
  /** Those whose keys were asked for, in wire order. */
  readonly attributes: readonly { readonly key: string; readonly value: AttributeValue }[];
};

export type SpanEdit = {
  readonly start?: bigint;
  readonly end?: bigint;
  /** By position in `attributes`: a text in place of the value, or nothing in place of the attribute. */
  readonly attributes?: ReadonlyMap<number, string | undefined>;
  /** Attributes to append. */
  readonly more?: Readonly<Record<string, string>>;
};

const START_TAG = (7 << 3) | FIXED64;
const END_TAG = (8 << 3) | FIXED64;
const ATTRIBUTE_TAG = (9 << 3) | LEN;
/** Of a KeyValue. */
const KEY_TAG = (1 << 3) | LEN;
const VALUE_TAG = (2 << 3) | LEN;
/** Of an AnyValue. */
const STRING_VALUE_TAG = (1 << 3) | LEN;

/** Attributes of a span with the keys asked for, and pieces of one value: no honest span has more. */
const MOST = 64;

/**
 * A payload that `scanTraces` has passed with some of its spans changed; undefined if none is. `edit` gets each span
 * by its position in wire order. All that is not changed stays as it is and where it is, unknown fields too.
 * Throws on other bytes.
 * @param keys of the attributes that are looked at; the others cost nothing. A span with more than 64 of them stays as
 * it is, so that no span costs much.
 */
export function editSpans(
  payload: Uint8Array,
  keys: ReadonlySet<string>,
  edit: (span: EditableSpan, spanIndex: number) => SpanEdit | undefined,
): Uint8Array | undefined {
  const edited = new Editor(payload, keys, edit).message(0, payload.length);
  return edited && Buffer.concat(edited.pieces, edited.length);
}

/** Bytes in place of those from one offset to another. */
type Change = { readonly from: number; readonly to: number; readonly bytes: Uint8Array };
type Range = { readonly from: number; readonly to: number };

class Editor extends Walker {
  readonly #keys: ReadonlySet<string>;
  readonly #longestKey: number;
  readonly #edit: (span: EditableSpan, spanIndex: number) => SpanEdit | undefined;
  #nextSpan = 0;

  constructor(
    payload: Uint8Array,
    keys: ReadonlySet<string>,
    edit: (span: EditableSpan, spanIndex: number) => SpanEdit | undefined,
  ) {
    super(payload);
    this.#keys = keys;
    this.#longestKey = Math.max(0, ...Array.from(keys, (key) => Buffer.byteLength(key)));
    this.#edit = edit;
  }

  /** The content of a message above the spans; undefined if nothing in it is changed. */
  message(level: number, end: number): Pieces | undefined {
    const { reader } = this;
    const whole: Pieces = { pieces: [], length: 0 };
    // Fields from here on stay as they are and are not yet in the pieces.
    let from = reader.pos;
    const start = from;
    while (reader.pos < end) {
      const at = reader.pos;
      const tag = this.tag(end);
      if (tag !== WAY_TO_SPANS[level]) {
        this.skip(tag, end);
        continue;
      }
      const childEnd = this.length(end) + reader.pos;
      const child = level === SPANS ? this.#span(childEnd) : this.message(level + 1, childEnd);
      if (child === undefined) continue;
      add(whole, reader.bytes.subarray(from, at));
      add(whole, headerOf(tag, child.length));
      for (const piece of child.pieces) add(whole, piece);
      from = childEnd;
    }
    if (from === start) return undefined;
    add(whole, reader.bytes.subarray(from, end));
    return whole;
  }

  #span(end: number): Pieces | undefined {
    const { reader } = this;
    const begin = reader.pos;
    let startAt: number | undefined;
    let endAt: number | undefined;
    const attributes: EditableSpan['attributes'][number][] = [];
    const ranges: Range[] = [];
    while (reader.pos < end) {
      const at = reader.pos;
      const tag = this.tag(end);
      if (tag === ATTRIBUTE_TAG) {
        const attributeEnd = this.length(end) + reader.pos;
        const attribute = this.#attribute(attributeEnd);
        if (attribute === undefined) continue;
        if (attribute === 'too many pieces' || attributes.length === MOST) {
          this.#nextSpan++;
          reader.pos = end;
          return undefined;
        }
        attributes.push(attribute);
        ranges.push({ from: at, to: attributeEnd });
        continue;
      }
      // Of repeated fields the last counts.
      if (tag === START_TAG) startAt = reader.pos;
      else if (tag === END_TAG) endAt = reader.pos;
      this.skip(tag, end);
    }
    const times = { start: this.#fixed64(startAt), end: this.#fixed64(endAt) };
    const edit = this.#edit({ ...times, attributes }, this.#nextSpan++);
    if (edit === undefined) return undefined;

    const changes: Change[] = [];
    for (const [position, text] of edit.attributes ?? []) {
      const { key } = attributes[position]!;
      const bytes = text === undefined ? new Uint8Array() : textAttribute(key, text);
      changes.push({ ...ranges[position]!, bytes });
    }
    if (edit.start !== undefined) changes.push(fixed64At(START_TAG, startAt ?? end, edit.start, startAt));
    if (edit.end !== undefined) changes.push(fixed64At(END_TAG, endAt ?? end, edit.end, endAt));
    for (const [key, text] of Object.entries(edit.more ?? {})) {
      changes.push({ from: end, to: end, bytes: textAttribute(key, text) });
    }
    return this.#changed(begin, end, changes);
  }

  /** Undefined unless its key is among those that were asked for. */
  #attribute(end: number): { key: string; value: AttributeValue } | 'too many pieces' | undefined {
    const { reader } = this;
    let key = '';
    const value: Pieces = { pieces: [], length: 0 };
    while (reader.pos < end) {
      const tag = this.tag(end);
      if (tag !== KEY_TAG && tag !== VALUE_TAG) {
        this.skip(tag, end);
        continue;
      }
      const length = this.length(end);
      const bytes = reader.bytes.subarray(reader.pos, reader.pos + length);
      // One more than is taken tells that there are too many.
      if (tag === VALUE_TAG && value.pieces.length <= MOST) add(value, bytes);
      else if (tag === KEY_TAG) key = length > this.#longestKey ? '' : textOf(bytes);
      reader.pos += length;
    }
    if (!this.#keys.has(key)) return undefined;
    if (value.pieces.length > MOST) return 'too many pieces';
    // Repeated messages are merged, as their bytes in a row are.
    return { key, value: readAnyValue(Buffer.concat(value.pieces, value.length)) };
  }

  #fixed64(at: number | undefined): bigint {
    const { bytes } = this.reader;
    if (at === undefined) return 0n;
    return new DataView(bytes.buffer, bytes.byteOffset + at, 8).getBigUint64(0, true);
  }

  #changed(begin: number, end: number, changes: readonly Change[]): Pieces {
    const { bytes } = this.reader;
    const whole: Pieces = { pieces: [], length: 0 };
    let from = begin;
    for (const change of changes.toSorted((one, other) => one.from - other.from)) {
      add(whole, bytes.subarray(from, change.from));
      add(whole, change.bytes);
      from = change.to;
    }
    add(whole, bytes.subarray(from, end));
    return whole;
  }
}

/** In place of the number that is there, or as a field of its own at the end. */
function fixed64At(tag: number, at: number, value: bigint, present: number | undefined): Change {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return present === undefined
    ? { from: at, to: at, bytes: Buffer.concat([Uint8Array.of(tag), bytes]) }
    : { from: at, to: at + 8, bytes };
}

/** A field of a span. */
function textAttribute(key: string, text: string): Uint8Array {
  const value = field(VALUE_TAG, field(STRING_VALUE_TAG, Buffer.from(text)));
  return field(ATTRIBUTE_TAG, Buffer.concat([field(KEY_TAG, Buffer.from(key)), value]));
}

function field(tag: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([headerOf(tag, content.length), content]);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
