import { readAnyValue } from './any-value.ts';
import type { AttributeValue } from './any-value.ts';
import { SpanRewriter } from './span-rewriter.ts';
import { headerOf } from './walker.ts';
import type { Pieces } from './walker.ts';
import { LEN } from './wire-reader.ts';

export const ATTRIBUTE_TAG = (9 << 3) | LEN;
/** Of a KeyValue. */
export const KEY_TAG = (1 << 3) | LEN;
export const VALUE_TAG = (2 << 3) | LEN;
/** Of an AnyValue. */
const STRING_VALUE_TAG = (1 << 3) | LEN;

/**
 * A payload that `scanTraces` has passed with an attribute behind all else in some of its spans; every other byte
 * stays, but for what the attribute said before: that comes to stand before its new text. Throws on other bytes.
 * @param texts values of the attribute, by position of the span in wire order
 */
export function appendAttribute(
  payload: Uint8Array,
  key: string,
  texts: ReadonlyMap<number, string>,
): Uint8Array {
  const edited = new Appender(payload, key, texts).rewritten();
  return edited ?? payload;
}

class Appender extends SpanRewriter {
  readonly #key: string;
  readonly #texts: ReadonlyMap<number, string>;
  #nextSpan = 0;

  constructor(payload: Uint8Array, key: string, texts: ReadonlyMap<number, string>) {
    super(payload);
    this.#key = key;
    this.#texts = texts;
  }

  protected span(end: number): Pieces | undefined {
    const { pos, bytes } = this.reader;
    const text = this.#texts.get(this.#nextSpan++);
    if (text === undefined) return undefined;
    const pieces: Uint8Array[] = [];
    let from = pos;
    const texts: string[] = [];
    while (this.reader.pos < end) {
      const at = this.reader.pos;
      const earlier = this.#textOfNext(end);
      if (earlier === undefined) continue;
      texts.push(earlier);
      pieces.push(bytes.subarray(from, at));
      from = this.reader.pos;
    }
    pieces.push(bytes.subarray(from, end), textAttribute(this.#key, [...texts, text].join('; ')));
    return { pieces, length: pieces.reduce((sum, { length }) => sum + length, 0) };
  }

  /** Steps over a field of a span; its text, if it is this attribute and has one. */
  #textOfNext(end: number): string | undefined {
    const { reader } = this;
    const tag = this.tag(end);
    if (tag !== ATTRIBUTE_TAG) {
      this.skip(tag, end);
      return undefined;
    }
    const fieldEnd = this.length(end) + reader.pos;
    let key = '';
    let value: AttributeValue = null;
    while (reader.pos < fieldEnd) {
      const inner = this.tag(fieldEnd);
      if (inner !== KEY_TAG && inner !== VALUE_TAG) {
        this.skip(inner, fieldEnd);
        continue;
      }
      const contentEnd = this.length(fieldEnd) + reader.pos;
      const content = reader.bytes.subarray(reader.pos, contentEnd);
      if (inner === KEY_TAG) key = Buffer.from(content).toString('utf8');
      else if (key === this.#key) value = readAnyValue(content);
      reader.pos = contentEnd;
    }
    return typeof value === 'string' ? value : undefined;
  }
}

/** A field of a span, or of what has attributes under another tag. */
export function textAttribute(key: string, text: string, tag = ATTRIBUTE_TAG): Uint8Array {
  const value = field(VALUE_TAG, field(STRING_VALUE_TAG, Buffer.from(text)));
  return field(tag, Buffer.concat([field(KEY_TAG, Buffer.from(key)), value]));
}

function field(tag: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([headerOf(tag, content.length), content]);
}
