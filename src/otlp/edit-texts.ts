import { createHash } from 'node:crypto';
import { add, headerOf, Walker } from './walker.ts';
import type { Pieces, Work } from './walker.ts';
import { LEN, START_GROUP } from './wire-reader.ts';
import {
  ANY_VALUE_TYPE,
  kindOf as kindOfField,
  MESSAGE,
  RESOURCE_SPANS_TYPE,
  SCOPE_SPANS_TYPE,
  SPAN_TYPE,
  TABLE_WIDTH,
  TEXT,
  nameOfField,
} from './wire-table.ts';

/** Steps of `Work` that the parts of it take, as measured. */
const STEPS = { field: 3, text: 10, perByte: 0.3, change: 200, perByteOfDigest: 0.3 } as const;

const REQUEST_TYPE = 0;

/** Of an AnyValue. */
const TEXT_TAG = (1 << 3) | LEN;
const BYTES_TAG = (7 << 3) | LEN;
/** A kind of field beside those of the table. */
const BYTES = -1;

export type TextsOfSpan = {
  /** Fields in which texts were changed, as people call them: `attributes`, `status`; `resource`, `scope` for what is around. */
  readonly fields: readonly string[];
  /**
   * Where nothing in the span itself was changed: a digest of what was changed around it, as it was. Spans with the same
   * digest have lost the same.
   */
  readonly shared: string | undefined;
};

export type EditedTexts = {
  readonly payload: Uint8Array;
  /** By position in wire order. */
  readonly spans: ReadonlyMap<number, TextsOfSpan>;
};

export type TextEdits = {
  /** Gets each text as bytes in UTF-8, and returns others, or undefined. */
  readonly text?: (text: Uint8Array) => Uint8Array | undefined;
  /** Gets each value that is bytes, and returns a text, in UTF-8, in its place. */
  readonly bytes?: (value: Uint8Array) => Uint8Array;
};

/**
 * A payload that `scanTraces` has passed with some of its texts changed, at any depth: names, keys, values, messages,
 * what is around spans too; or with texts in place of its bytes; undefined if none is. Unknown fields, and all else, stay
 * as they are and where they are. Throws on other bytes.
 * @param work is counted down; what begins when there is none left stays as it is
 * @param how.aroundOnly spans stay as they are
 */
export function editTexts(
  payload: Uint8Array,
  edits: TextEdits,
  work: Work = { left: Infinity },
  how: { readonly aroundOnly?: boolean } = {},
): EditedTexts | undefined {
  const editor = new TextEditor(payload, edits, work, how.aroundOnly === true);
  const edited = editor.message(REQUEST_TYPE, payload.length, { fields: new Set() });
  return edited && { payload: Buffer.concat(edited.pieces, edited.length), spans: editor.spans };
}

/** In a span, or in what is around spans. */
type Changes = {
  /** Places of fields in the table of `wire-table.ts`. */
  readonly fields: Set<number>;
  /** Of what is around spans: of fields that were changed, as they were. */
  readonly lost?: Uint8Array[];
};

class TextEditor extends Walker {
  readonly #edits: TextEdits;
  readonly #work: Work;
  readonly #isAroundOnly: boolean;
  readonly spans = new Map<number, TextsOfSpan>();
  #nextSpan = 0;

  constructor(payload: Uint8Array, edits: TextEdits, work: Work, isAroundOnly: boolean) {
    super(payload);
    this.#edits = edits;
    this.#work = work;
    this.#isAroundOnly = isAroundOnly;
  }

  /**
   * The content of a message of this type, up to its end; undefined if nothing in it is changed.
   * @param field place of the field in which it is, of the span or of what is around spans; missing for these themselves
   */
  message(type: number, end: number, changes: Changes, field?: number): Pieces | undefined {
    const { reader } = this;
    const whole: Pieces = { pieces: [], length: 0 };
    const start = reader.pos;
    // Fields from here on stay as they are and are not yet in the pieces.
    let from = start;
    while (reader.pos < end) {
      const at = reader.pos;
      const tag = this.tag(end);
      const kind = kindOf(type, tag);
      this.#work.left -= STEPS.field;
      if (kind !== TEXT && kind !== BYTES && kind < MESSAGE) {
        this.#skip(tag, end);
        continue;
      }
      const behindTag = reader.pos;
      const childEnd = this.length(end) + reader.pos;
      const child =
        field === undefined
          ? this.#field(kind, childEnd, changes, placeOf(type, tag))
          : this.#within(kind, childEnd, changes, field);
      reader.pos = childEnd;
      if (child === undefined) continue;
      this.#work.left -= STEPS.change;
      add(whole, reader.bytes.subarray(from, kind === BYTES ? at : behindTag));
      add(whole, kind === BYTES ? headerOf(TEXT_TAG, child.length) : lengthOf(child));
      for (const piece of child.pieces) add(whole, piece);
      from = childEnd;
    }
    if (from === start) return undefined;
    add(whole, reader.bytes.subarray(from, end));
    return whole;
  }

  /** Within a group there may be a field for every two bytes. */
  #skip(tag: number, end: number): void {
    const from = this.reader.pos;
    this.skip(tag, end);
    if ((tag & 7) === START_GROUP) this.#work.left -= (this.reader.pos - from) / 2;
  }

  /** A field of the request, of what is around spans, or of a span. */
  #field(kind: number, end: number, changes: Changes, place: number): Pieces | undefined {
    const type = kind - MESSAGE;
    if (type === RESOURCE_SPANS_TYPE || type === SCOPE_SPANS_TYPE) return this.#around(type, end);
    if (type === SPAN_TYPE) return this.#span(end);
    if (this.#work.left <= 0) return undefined;
    const { pos, bytes } = this.reader;
    const child = this.#within(kind, end, changes, place);
    if (child !== undefined) changes.lost?.push(bytes.subarray(pos, end));
    return child;
  }

  #within(kind: number, end: number, changes: Changes, field: number): Pieces | undefined {
    if (kind >= MESSAGE) return this.message(kind - MESSAGE, end, changes, field);
    const { pos, bytes } = this.reader;
    this.#work.left -= STEPS.text + (end - pos) * STEPS.perByte;
    const edit = kind === BYTES ? this.#edits.bytes : this.#edits.text;
    const text = edit?.(bytes.subarray(pos, end));
    if (text === undefined) return undefined;
    changes.fields.add(field);
    return { pieces: [text], length: text.length };
  }

  /** What is around spans may stand behind them. */
  #around(type: number, end: number): Pieces | undefined {
    const first = this.#nextSpan;
    const changes = { fields: new Set<number>(), lost: [] };
    const child = this.message(type, end, changes);
    if (changes.fields.size > 0) this.#addAround(first, labelsOf(changes), this.#digest(changes.lost));
    return child;
  }

  #addAround(first: number, fields: readonly string[], digest: string): void {
    const alone = { fields, shared: digest };
    for (let index = first; index < this.#nextSpan; index++) {
      const own = this.spans.get(index);
      const both = own && {
        fields: [...new Set([...own.fields, ...fields])],
        shared: own.shared && own.shared + digest,
      };
      this.spans.set(index, both ?? alone);
    }
    this.#work.left -= this.#nextSpan - first;
  }

  #digest(fields: readonly Uint8Array[]): string {
    const hash = createHash('sha256');
    for (const bytes of fields) {
      this.#work.left -= bytes.length * STEPS.perByteOfDigest;
      hash.update(bytes);
    }
    return hash.digest('base64url');
  }

  #span(end: number): Pieces | undefined {
    const index = this.#nextSpan++;
    if (this.#isAroundOnly || this.#work.left <= 0) return undefined;
    const changes = { fields: new Set<number>() };
    const child = this.message(SPAN_TYPE, end, changes);
    if (child !== undefined) this.spans.set(index, { fields: labelsOf(changes), shared: undefined });
    return child;
  }
}

function placeOf(type: number, tag: number): number {
  return type * TABLE_WIDTH + (tag >>> 3);
}

function kindOf(type: number, tag: number): number {
  if (type === ANY_VALUE_TYPE && tag === BYTES_TAG) return BYTES;
  return kindOfField(type, tag);
}

/** `Span.trace_state` is the `trace state` of a span. */
function labelsOf({ fields }: Changes): string[] {
  return Array.from(fields, (place) => {
    const [, name = ''] = nameOfField(Math.floor(place / TABLE_WIDTH), place % TABLE_WIDTH).split('.');
    return name.replaceAll('_', ' ');
  });
}

/** As a varint. */
function lengthOf({ length }: Pieces): Uint8Array {
  return headerOf(0, length).subarray(1);
}
