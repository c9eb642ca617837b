import { AnyValue } from './schema.ts';
import { Walker } from './walker.ts';
import { FIXED64, LEN, VARINT } from './wire-reader.ts';

/** A value of an attribute; null where none is set. */
export type PlainValue =
  | null
  | string
  | number
  | boolean
  | Uint8Array
  | readonly PlainValue[]
  | { readonly [key: string]: PlainValue };

/** A list or a map of more bytes is not read: its objects take many times their memory, and a microsecond for eight bytes. */
export const LARGEST_VALUE = 16 * 1024;

export const LARGE_LIST = Symbol('a list that is not read');
export const LARGE_MAP = Symbol('a map that is not read');

export type AttributeValue = PlainValue | typeof LARGE_LIST | typeof LARGE_MAP;

/** Any of the fields, as protobufjs has them. */
type Decoded = {
  readonly value?: keyof Decoded;
  readonly stringValue?: string;
  readonly boolValue?: boolean;
  readonly intValue?: number | { toNumber(): number };
  readonly doubleValue?: number;
  readonly bytesValue?: Uint8Array;
  readonly arrayValue?: { readonly values: readonly Decoded[] };
  readonly kvlistValue?: { readonly values: readonly { readonly key: string; readonly value?: Decoded }[] };
};

/** The bytes of an AnyValue that `scanTraces` has passed. Integers beyond 2^53 lose their last digits. */
export function readAnyValue(bytes: Uint8Array): AttributeValue {
  const last = new ValueWalker(bytes).last();
  if (last === undefined) return null;
  const { tag, from, to } = last;
  if (tag !== LIST_TAG && tag !== MAP_TAG) return decode(bytes.subarray(from, to));
  // Repeated lists are one.
  if (bytes.length <= LARGEST_VALUE) return decode(bytes);
  return tag === LIST_TAG ? LARGE_LIST : LARGE_MAP;
}

const LIST_TAG = (5 << 3) | LEN;
const MAP_TAG = (6 << 3) | LEN;
/** Of the fields of which an AnyValue has one. */
const VALUE_TAGS: ReadonlySet<number> = new Set([
  (1 << 3) | LEN,
  (2 << 3) | VARINT,
  (3 << 3) | VARINT,
  (4 << 3) | FIXED64,
  LIST_TAG,
  MAP_TAG,
  (7 << 3) | LEN,
  (8 << 3) | VARINT,
]);

class ValueWalker extends Walker {
  /** Of several fields that exclude each other, the last counts. */
  last(): { readonly tag: number; readonly from: number; readonly to: number } | undefined {
    const { reader } = this;
    const end = reader.bytes.length;
    let last;
    while (reader.pos < end) {
      const from = reader.pos;
      const tag = this.tag(end);
      this.skip(tag, end);
      if (VALUE_TAGS.has(tag)) last = { tag, from, to: reader.pos };
    }
    return last;
  }
}

function decode(bytes: Uint8Array): PlainValue {
  return toPlain(AnyValue.decode(bytes) as Decoded);
}

function toPlain(decoded: Decoded | null | undefined): PlainValue {
  switch (decoded?.value) {
    case 'arrayValue':
      return (decoded.arrayValue?.values ?? []).map(toPlain);
    case 'kvlistValue':
      return Object.fromEntries(
        (decoded.kvlistValue?.values ?? []).map(({ key, value }) => [key, toPlain(value)]),
      );
    case 'intValue':
      return Number(decoded.intValue);
    case 'stringValue':
    case 'boolValue':
    case 'doubleValue':
    case 'bytesValue':
      return decoded[decoded.value] ?? null;
    default:
      return null;
  }
}
