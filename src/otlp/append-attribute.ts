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
 * stays. Throws on other bytes.
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
    const pieces = [bytes.subarray(pos, end), textAttribute(this.#key, text)];
    return { pieces, length: pieces.reduce((sum, { length }) => sum + length, 0) };
  }
}

/** A field of a span. */
export function textAttribute(key: string, text: string): Uint8Array {
  const value = field(VALUE_TAG, field(STRING_VALUE_TAG, Buffer.from(text)));
  return field(ATTRIBUTE_TAG, Buffer.concat([field(KEY_TAG, Buffer.from(key)), value]));
}

function field(tag: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([headerOf(tag, content.length), content]);
}
