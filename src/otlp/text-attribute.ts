import { headerOf } from './walker.ts';
import { LEN } from './wire-reader.ts';

/** Of a KeyValue. */
export const KEY_TAG = (1 << 3) | LEN;
export const VALUE_TAG = (2 << 3) | LEN;
/** Of an AnyValue. */
const STRING_VALUE_TAG = (1 << 3) | LEN;

/** An attribute with a text, as a field of the message that has attributes under `tag`. */
export function textAttribute(tag: number, key: string, text: string): Uint8Array {
  const value = field(VALUE_TAG, field(STRING_VALUE_TAG, Buffer.from(text)));
  return field(tag, Buffer.concat([field(KEY_TAG, Buffer.from(key)), value]));
}

function field(tag: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([headerOf(tag, content.length), content]);
}
