import { readAnyValue } from './any-value.ts';
import type { AttributeValue } from './any-value.ts';
import { ATTRIBUTE_TAG, KEY_TAG, textAttribute, VALUE_TAG } from './append-attribute.ts';
import { SpanRewriter } from './span-rewriter.ts';
import { add } from './walker.ts';
import type { Pieces, Work } from './walker.ts';
import { FIXED64, START_GROUP } from './wire-reader.ts';

export { LARGE_LIST, LARGE_MAP, LARGEST_VALUE } from './any-value.ts';
export type { AttributeValue, PlainValue } from './any-value.ts';
export type { Work } from './walker.ts';

/** A span of more bytes stays as it is: only the walk through it would take long. */
export const LARGEST_EDITABLE_SPAN = 1024 * 1024;

/** Steps that the parts of the work take, as measured. */
const STEPS = {
  payload: 150,
  span: 40,
  key: 10,
  value: 40,
  perByte: 0.5,
  perByteOfList: 10,
  change: 200,
} as const;

/** What can be changed in a span, as it stands on the wire. */
export type EditableSpan = {
  /** Nanoseconds since the epoch, unsigned; 0 where it is missing. */
  readonly start: bigint;
  readonly end: bigint;
  /** Those whose keys were asked for, in wire order. Of a repeated key the last counts, as in a dictionary. */
  readonly attributes: readonly { readonly key: string; readonly value: AttributeValue }[];
};

export type SpanEdit = {
  readonly start?: bigint;
  readonly end?: bigint;
  /** By position in `attributes`: a text in place of the value, or nothing in place of all attributes of the key. */
  readonly attributes?: ReadonlyMap<number, string | undefined>;
};

const START_TAG = (7 << 3) | FIXED64;
const END_TAG = (8 << 3) | FIXED64;

/** Attributes of a span with the keys asked for, repeated ones too, and pieces of one value: no honest span has more. */
const MOST = 64;

/**
 * A payload that `scanTraces` has passed with some of its spans changed; undefined if none is. `edit` gets each span
 * by its position in wire order. All that is not changed stays as it is and where it is, unknown fields too.
 * Throws on other bytes.
 * @param keys of the attributes that are looked at; the others cost nothing. A span with more than 64 of them stays as
 * it is, so that no span costs much.
 * @param work is counted down, for several payloads if need be; without it there is no bound
 */
export function editSpans(
  payload: Uint8Array,
  keys: ReadonlySet<string>,
  edit: (span: EditableSpan, spanIndex: number) => SpanEdit | undefined,
  work: Work = { left: Infinity },
): Uint8Array | undefined {
  work.left -= STEPS.payload;
  return new Editor(payload, keys, edit, work).rewritten();
}

/** Bytes in place of those from one offset to another. */
type Change = { readonly from: number; readonly to: number; readonly bytes: Uint8Array };
type Range = { readonly from: number; readonly to: number };
/** An attribute with one of the keys; its value in pieces, which are merged as their bytes in a row are. */
type Found = Range & { readonly key: string; readonly value: Pieces };

class Editor extends SpanRewriter {
  readonly #keys: ReadonlySet<string>;
  /** Of the keys, in bytes. */
  readonly #lengths: ReadonlySet<number>;
  readonly #edit: (span: EditableSpan, spanIndex: number) => SpanEdit | undefined;
  readonly #work: Work;
  #nextSpan = 0;

  constructor(
    payload: Uint8Array,
    keys: ReadonlySet<string>,
    edit: (span: EditableSpan, spanIndex: number) => SpanEdit | undefined,
    work: Work,
  ) {
    super(payload);
    this.#keys = keys;
    this.#lengths = new Set(Array.from(keys, (key) => Buffer.byteLength(key)));
    this.#edit = edit;
    this.#work = work;
  }

  protected override get isDone(): boolean {
    return this.#work.left <= 0;
  }

  /** Within a group there may be a field for every two bytes. */
  protected override pass(tag: number, end: number): void {
    const { reader } = this;
    const from = reader.pos;
    this.skip(tag, end);
    this.#work.left -= (tag & 7) === START_GROUP ? 1 + (reader.pos - from) / 2 : 1;
  }

  protected override span(end: number): Pieces | undefined {
    const { reader } = this;
    const begin = reader.pos;
    const index = this.#nextSpan++;
    this.#work.left -= STEPS.span;
    if (end - begin > LARGEST_EDITABLE_SPAN) return undefined;
    let startAt: number | undefined;
    let endAt: number | undefined;
    const found: Found[] = [];
    while (reader.pos < end) {
      const from = reader.pos;
      const tag = this.tag(end);
      if (tag === ATTRIBUTE_TAG) {
        const to = this.length(end) + reader.pos;
        const attribute = this.#attribute(to);
        if (attribute === undefined) continue;
        if (attribute.value.pieces.length > MOST || found.length === MOST) return undefined;
        found.push({ ...attribute, from, to });
        continue;
      }
      // Of repeated fields the last counts.
      if (tag === START_TAG) startAt = reader.pos;
      else if (tag === END_TAG) endAt = reader.pos;
      this.pass(tag, end);
    }
    const last = new Map(found.map((attribute) => [attribute.key, attribute]));
    const counting = found.filter((attribute) => last.get(attribute.key) === attribute);
    const attributes: EditableSpan['attributes'][number][] = [];
    for (const { key, value } of counting) {
      if (this.#work.left <= 0) return undefined;
      attributes.push({ key, value: this.#value(value) });
    }
    const times = { start: this.#fixed64(startAt), end: this.#fixed64(endAt) };
    const edit = this.#edit({ ...times, attributes }, index);
    if (edit === undefined) return undefined;

    const changes: Change[] = [];
    for (const [position, text] of edit.attributes ?? []) {
      const one = counting[position]!;
      if (text !== undefined) {
        changes.push({ from: one.from, to: one.to, bytes: textAttribute(one.key, text) });
        continue;
      }
      // An earlier one would count in place of the last.
      for (const { key, from, to } of found) {
        if (key === one.key) changes.push({ from, to, bytes: new Uint8Array() });
      }
    }
    if (edit.start !== undefined) changes.push(fixed64At(START_TAG, startAt ?? end, edit.start, startAt));
    if (edit.end !== undefined) changes.push(fixed64At(END_TAG, endAt ?? end, edit.end, endAt));
    this.#work.left -= STEPS.change * changes.length;
    return this.#changed(begin, end, changes);
  }

  /** Undefined unless its key is among those that were asked for. Of too many pieces of its value it has one too many. */
  #attribute(end: number): Pick<Found, 'key' | 'value'> | undefined {
    const { reader } = this;
    const begin = reader.pos;
    this.#work.left -= 1;
    let key: string | undefined;
    while (reader.pos < end) {
      const tag = this.tag(end);
      if (tag !== KEY_TAG) {
        this.pass(tag, end);
        continue;
      }
      this.#work.left -= 1;
      const length = this.length(end);
      const from = reader.pos;
      reader.pos += length;
      key = this.#keyAt(from, length);
    }
    if (key === undefined) return undefined;
    const value: Pieces = { pieces: [], length: 0 };
    reader.pos = begin;
    while (reader.pos < end) {
      const tag = this.tag(end);
      if (tag !== VALUE_TAG) {
        this.pass(tag, end);
        continue;
      }
      this.#work.left -= 1;
      const length = this.length(end);
      if (value.pieces.length <= MOST) add(value, reader.bytes.subarray(reader.pos, reader.pos + length));
      reader.pos += length;
    }
    return { key, value };
  }

  /** The key that was asked for; a text of it is made only where its length fits. */
  #keyAt(from: number, length: number): string | undefined {
    if (!this.#lengths.has(length)) return undefined;
    this.#work.left -= STEPS.key;
    const key = textOf(this.reader.bytes.subarray(from, from + length));
    return this.#keys.has(key) ? key : undefined;
  }

  #value({ pieces, length }: Pieces): AttributeValue {
    const value = readAnyValue(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, length));
    const isRead = typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
    this.#work.left -= STEPS.value + length * (isRead ? STEPS.perByteOfList : STEPS.perByte);
    return value;
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

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
