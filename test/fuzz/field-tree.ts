import { Reader } from 'protobufjs';
import type { Type } from 'protobufjs';

/*
 * Protobuf bytes as a tree of fields, in which anything can be changed: lengths are written anew, so that the framing of
 * what is around a change stays right.
 */

export type Field = Raw | Leaf | Message;
/** A tag and its value as they stand on the wire: numbers, groups, and what is meant to be wrong. */
export type Raw = { readonly kind: 'raw'; bytes: Uint8Array };
/** A length-delimited field without fields in it. `padding` is how many bytes its length is longer than it must be. */
export type Leaf = { readonly kind: 'leaf'; number: number; padding: number; bytes: Uint8Array };
export type Message = {
  readonly kind: 'message';
  number: number;
  padding: number;
  readonly type: Type;
  readonly fields: Field[];
};

const LEN = 2;

/** Parsers take lengths and tags of at most 5 bytes. */
const MOST_VARINT32_BYTES = 5;

/** Unsigned, with `padding` bytes more than it needs. */
export function varint(value: number | bigint, padding = 0): number[] {
  const bytes: number[] = [];
  if (typeof value === 'bigint') {
    let rest = BigInt.asUintN(64, value);
    for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
    bytes.push(Number(rest));
  } else {
    let rest = value;
    for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
    bytes.push(rest);
  }
  for (let added = 0; added < padding; added++) {
    bytes[bytes.length - 1]! |= 0x80;
    bytes.push(0);
  }
  return bytes;
}

/** A tag and, behind it, bytes that are its value. */
export function raw(number: number, wireType: number, value: ArrayLike<number>): Raw {
  const tag = varint(number * 8 + wireType);
  const bytes = new Uint8Array(tag.length + value.length);
  bytes.set(tag);
  bytes.set(value, tag.length);
  return { kind: 'raw', bytes };
}

export function leaf(number: number, bytes: Uint8Array, padding = 0): Leaf {
  return { kind: 'leaf', number, padding, bytes };
}

export function bytesOfFields(fields: readonly Field[]): Uint8Array {
  const writer = new BackwardWriter();
  writer.fields(fields);
  return writer.finish();
}

/** Writes from the end to the start, so that each length is known when it is written. */
class BackwardWriter {
  #buffer = new Uint8Array(4096);
  #start = 4096;

  fields(fields: readonly Field[]): void {
    for (let index = fields.length - 1; index >= 0; index--) this.#field(fields[index]!);
  }

  finish(): Uint8Array {
    return this.#buffer.slice(this.#start);
  }

  #field(field: Field): void {
    if (field.kind === 'raw') {
      this.#prepend(field.bytes);
      return;
    }
    const end = this.#length();
    if (field.kind === 'leaf') this.#prepend(field.bytes);
    else this.fields(field.fields);
    const length = varint(this.#length() - end);
    const padding = Math.min(field.padding, MOST_VARINT32_BYTES - length.length);
    this.#prepend(padding > 0 ? varint(this.#length() - end, padding) : length);
    this.#prepend(varint(field.number * 8 + LEN));
  }

  #length(): number {
    return this.#buffer.length - this.#start;
  }

  #prepend(bytes: ArrayLike<number>): void {
    if (bytes.length > this.#start) {
      const content = this.#buffer.subarray(this.#start);
      const larger = new Uint8Array(2 * this.#buffer.length + bytes.length);
      larger.set(content, larger.length - content.length);
      this.#start = larger.length - content.length;
      this.#buffer = larger;
    }
    this.#start -= bytes.length;
    this.#buffer.set(bytes, this.#start);
  }
}

/** The tree of bytes that were written for `type`; undefined where they are not framed. */
export function fieldsOfBytes(bytes: Uint8Array, type: Type): Field[] | undefined {
  const reader = Reader.create(bytes);
  const fields: Field[] = [];
  try {
    while (reader.pos < reader.len) {
      const start = reader.pos;
      const tag = reader.uint32();
      if ((tag & 7) !== LEN) {
        reader.skipType(tag & 7);
        fields.push({ kind: 'raw', bytes: bytes.slice(start, reader.pos) });
        continue;
      }
      const number = tag >>> 3;
      const content = new Uint8Array(reader.bytes());
      const inner = messageTypeOf(type, number);
      const within = inner && fieldsOfBytes(content, inner);
      fields.push(
        inner === undefined || within === undefined
          ? leaf(number, content)
          : { kind: 'message', number, padding: 0, type: inner, fields: within },
      );
    }
    return fields;
  } catch {
    return undefined;
  }
}

/** The type of messages in a field; undefined where it has none. */
export function messageTypeOf(type: Type, number: number): Type | undefined {
  const resolved = type.fieldsById[number]?.resolve().resolvedType;
  return resolved && 'fieldsArray' in resolved ? resolved : undefined;
}

/** A list of fields, and a place in it. */
export type Place = { readonly fields: Field[]; readonly index: number };

/** Where all fields of a tree stand, those around others first. */
export function placesOf(fields: Field[]): Place[] {
  const places: Place[] = [];
  const collect = (list: Field[]) => {
    for (const [index, field] of list.entries()) {
      places.push({ fields: list, index });
      if (field.kind === 'message') collect(field.fields);
    }
  };
  collect(fields);
  return places;
}
