import { exactInteger } from './decimal.ts';
import type { FieldPlan } from './json-plan.ts';
import type { JsonReader } from './json-reader.ts';
import type { ProtobufWriter } from './protobuf-writer.ts';

const INTEGERS: Readonly<Record<string, { min: bigint; max: bigint; words: string }>> = {
  enum: { min: -(2n ** 31n), max: 2n ** 31n - 1n, words: 'the number or the name of an enum value' },
  uint32: { min: 0n, max: 2n ** 32n - 1n, words: 'an unsigned 32-bit integer' },
  fixed32: { min: 0n, max: 2n ** 32n - 1n, words: 'an unsigned 32-bit integer' },
  int32: { min: -(2n ** 31n), max: 2n ** 31n - 1n, words: 'a 32-bit integer' },
  int64: {
    min: -(2n ** 63n),
    max: 2n ** 63n - 1n,
    words: 'a 64-bit integer, as a decimal string or a number',
  },
  fixed64: {
    min: 0n,
    max: 2n ** 64n - 1n,
    words: 'an unsigned 64-bit integer, as a decimal string or a number',
  },
};
const DOUBLE = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$|^NaN$|^-?Infinity$/;

const HEX_DIGITS = /^[\da-fA-F]*$/;
const BASE64_DIGITS = /^[\w+/-]*$/;
const PADDING = 0x3d;
/** A multiple of what makes whole bytes: two digits in hex, four in base64. */
const DIGITS_AT_ONCE = 64 * 1024;

const WORDS: Readonly<Record<string, string>> = {
  message: 'an object',
  string: 'a string',
  bool: 'true or false',
  double: 'a number, "NaN", "Infinity" or "-Infinity"',
  hex: 'hexadecimal digits, two a byte',
  bytes: 'base64',
};

/** What a field expects, for people. */
export function wordsOf(type: string): string {
  return WORDS[type] ?? INTEGERS[type]!.words;
}

/** Writes the next value, which is for a field that is no message and no string. False: it does not fit. */
export function writeScalar(reader: JsonReader, writer: ProtobufWriter, field: FieldPlan): boolean {
  switch (field.type) {
    case 'bool': {
      const value = reader.takeBoolean();
      if (value === undefined) return false;
      if (!field.explicit && !value) return true;
      writer.uint32(field.tag);
      writer.byte(value ? 1 : 0);
      return true;
    }
    case 'double': {
      const value = readDouble(reader);
      if (value === undefined) return false;
      if (!field.explicit && Object.is(value, 0)) return true;
      writer.uint32(field.tag);
      writer.double(value);
      return true;
    }
    case 'hex':
    case 'bytes': {
      const value = field.type === 'hex' ? readHex(reader) : readBase64(reader);
      if (value === undefined) return false;
      if (!field.explicit && value.length === 0) return true;
      writer.uint32(field.tag);
      writer.bytes(value);
      return true;
    }
    default: {
      const value = readInteger(reader, field);
      if (value === undefined) return false;
      if (field.explicit || value !== 0) writeInteger(writer, field, value);
      return true;
    }
  }
}

function writeInteger(writer: ProtobufWriter, field: FieldPlan, value: number | bigint): void {
  writer.uint32(field.tag);
  if (field.type === 'fixed32') writer.fixed32(Number(value));
  else if (field.type === 'fixed64') writer.fixed64(value);
  else writer.integer(value);
}

function readInteger(
  reader: JsonReader,
  { type, names }: Pick<FieldPlan, 'type' | 'names'>,
): number | bigint | undefined {
  const { min, max } = INTEGERS[type]!;
  const number = reader.takeNumber();
  if (number === undefined && !reader.takesString()) return undefined;
  const text = number ?? reader.shortText() ?? '';
  // Of an enum, text is the name alone.
  if (names !== undefined && number === undefined) return names.get(text);
  const value = exactInteger(text);
  return value === undefined || value < min || value > max ? undefined : value;
}

function readDouble(reader: JsonReader): number | undefined {
  const number = reader.takeNumber();
  if (number === undefined && !reader.takesString()) return undefined;
  const text = number ?? reader.shortText() ?? '';
  const value = Number(text);
  // Digits that come to more than a double can hold are no infinity.
  const isTooLarge = Math.abs(value) === Infinity && !text.endsWith('Infinity');
  return DOUBLE.test(text) && !isTooLarge ? value : undefined;
}

/**
 * Or base64, of protobuf's own JSON, where that is an id of 16 or of 8 bytes: it ends with padding, which is no digit in
 * hex, so neither can be taken for the other.
 */
function readHex(reader: JsonReader): Uint8Array | undefined {
  const digits = readDigits(reader);
  if (digits?.at(-1) === PADDING) {
    const id = base64Of(digits);
    return id?.length === 16 || id?.length === 8 ? id : undefined;
  }
  if (digits === undefined || digits.length % 2 !== 0) return undefined;
  return decoded(digits, digits.length / 2, 'hex', HEX_DIGITS);
}

/** Of either alphabet, padded or not. */
function readBase64(reader: JsonReader): Uint8Array | undefined {
  const digits = readDigits(reader);
  return digits === undefined ? undefined : base64Of(digits);
}

function base64Of(padded: Buffer): Uint8Array | undefined {
  let digits = padded;
  for (let i = 0; i < 2; i++) if (digits.at(-1) === PADDING) digits = digits.subarray(0, -1);
  if (digits.length % 4 === 1) return undefined;
  return decoded(digits, Math.floor((digits.length * 3) / 4), 'base64', BASE64_DIGITS);
}

function readDigits(reader: JsonReader): Buffer | undefined {
  return reader.takesString() ? (reader.textBytes() ?? reader.unescapedBytes()) : undefined;
}

/** Piece by piece, so that no long string is made of them. */
function decoded(
  digits: Buffer,
  size: number,
  encoding: 'hex' | 'base64',
  allowed: RegExp,
): Uint8Array | undefined {
  const bytes = Buffer.allocUnsafe(size);
  let length = 0;
  for (let at = 0; at < digits.length; at += DIGITS_AT_ONCE) {
    const text = digits.toString('latin1', at, at + DIGITS_AT_ONCE);
    if (!allowed.test(text)) return undefined;
    length += bytes.write(text, length, encoding);
  }
  return bytes.subarray(0, length);
}
