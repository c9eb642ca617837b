import { exactInteger } from './decimal.ts';
import { CLOSE_ARRAY, CLOSE_OBJECT, JsonMisfit, JsonReader, OPEN_ARRAY, OPEN_OBJECT } from './json-reader.ts';
import { REQUEST } from './json-plan.ts';
import type { FieldPlan, MessagePlan } from './json-plan.ts';
import { ProtobufWriter } from './protobuf-writer.ts';
import { MAX_DEPTH } from './schema.ts';

export type JsonResult = { ok: true; payload: Uint8Array<ArrayBuffer> } | { ok: false; message: string };

/**
 * OTLP/JSON (opentelemetry-proto specification.md, "JSON Protobuf Encoding") to protobuf in one pass, fields in
 * the order in which the body has them, numbers exact.
 *
 * Strict: the first value that does not fit its field is an error that names its place and what is expected, and
 * so are a name that comes twice and two members of one oneof. Names that are not in the schema are ignored, null
 * means absent. Ids may have any length here; `scanTraces` judges them. Never throws. Holds the thread while it runs,
 * and needs about the memory of the body, as protobuf is shorter than JSON.
 */
export function encodeTracesJsonNow(body: Uint8Array): JsonResult {
  try {
    return { ok: true, payload: new Encoder(new JsonReader(body)).encode() };
  } catch (error) {
    if (!(error instanceof JsonMisfit)) throw error;
    return { ok: false, message: `not an ExportTraceServiceRequest in JSON: ${error.message}` };
  }
}

const INTEGERS: Readonly<Record<string, { min: bigint; max: bigint; words: string }>> = {
  enum: { min: -(2n ** 31n), max: 2n ** 31n - 1n, words: 'the number of an enum value' },
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
const DOUBLE_WORDS = 'a number, "NaN", "Infinity" or "-Infinity"';

const HEX_DIGITS = /^[\da-fA-F]*$/;
const BASE64_DIGITS = /^[\w+/-]*$/;
const PADDING = 0x3d;
/** A multiple of what makes whole bytes: two digits in hex, four in base64. */
const DIGITS_AT_ONCE = 64 * 1024;

class Encoder {
  readonly #reader: JsonReader;
  readonly #writer: ProtobufWriter;
  /** Where the value at hand stands. */
  readonly #path: (string | number)[] = [];

  constructor(reader: JsonReader) {
    this.#reader = reader;
    this.#writer = new ProtobufWriter(reader.length);
  }

  encode(): Uint8Array<ArrayBuffer> {
    this.#message(REQUEST, 0);
    this.#reader.end();
    return this.#writer.finish();
  }

  #message(plan: MessagePlan, depth: number): void {
    const reader = this.#reader;
    if (!reader.takes(OPEN_OBJECT)) this.#misfit('an object');
    if (reader.takes(CLOSE_OBJECT)) return;
    let seen = 0;
    let chosen: FieldPlan | undefined;
    do {
      reader.name();
      const field = this.#fieldNamed(plan);
      if (field === undefined) {
        reader.skip();
        continue;
      }
      this.#path.push(field.key);
      if ((seen & field.bit) !== 0) this.#misfit('no second value for the same name');
      seen |= field.bit;
      if (!reader.takesNull()) {
        if (field.inOneof) {
          if (chosen !== undefined) this.#misfit(`no other member beside ${chosen.key}`);
          chosen = field;
        }
        if (field.repeated) this.#array(field, depth);
        else this.#value(field, depth);
      }
      this.#path.pop();
    } while (reader.continues(CLOSE_OBJECT));
  }

  /** The field whose name was just read. */
  #fieldNamed({ fields }: MessagePlan): FieldPlan | undefined {
    const reader = this.#reader;
    if (reader.escaped) {
      const name = reader.shortText();
      return fields.find((field) => field.key === name);
    }
    for (const field of fields) if (reader.isText(field.keyBytes)) return field;
    return undefined;
  }

  #array(field: FieldPlan, depth: number): void {
    const reader = this.#reader;
    if (!reader.takes(OPEN_ARRAY)) this.#misfit('an array');
    if (reader.takes(CLOSE_ARRAY)) return;
    const last = this.#path.push(0) - 1;
    for (let index = 0; ; index++) {
      this.#path[last] = index;
      this.#value(field, depth);
      if (!reader.continues(CLOSE_ARRAY)) break;
    }
    this.#path.pop();
  }

  #value(field: FieldPlan, depth: number): void {
    const reader = this.#reader;
    const writer = this.#writer;
    switch (field.type) {
      case 'message': {
        if (depth === MAX_DEPTH) this.#misfit(`at most ${MAX_DEPTH} messages within each other`);
        writer.uint32(field.tag);
        const begin = writer.begin();
        this.#message(field.message!, depth + 1);
        writer.end(begin);
        return;
      }
      case 'string':
        this.#string(field);
        return;
      case 'bool': {
        const value = reader.takeBoolean() ?? this.#misfit('true or false');
        if (!field.explicit && !value) return;
        writer.uint32(field.tag);
        writer.byte(value ? 1 : 0);
        return;
      }
      case 'double': {
        const value = this.#double();
        if (!field.explicit && Object.is(value, 0)) return;
        writer.uint32(field.tag);
        writer.double(value);
        return;
      }
      case 'hex':
      case 'bytes': {
        const value = field.type === 'hex' ? this.#hex() : this.#base64();
        if (!field.explicit && value.length === 0) return;
        writer.uint32(field.tag);
        writer.bytes(value);
        return;
      }
      default: {
        const value = this.#integer(field.type);
        if (field.explicit || value !== 0) this.#writeInteger(field, value);
      }
    }
  }

  #string(field: FieldPlan): void {
    const reader = this.#reader;
    const writer = this.#writer;
    if (!reader.takesString()) this.#misfit('a string');
    if (!field.explicit && reader.textIsEmpty) return;
    writer.uint32(field.tag);
    // Without escapes it is the same bytes in protobuf, which writes text and bytes alike.
    const bytes = reader.textBytes();
    if (bytes !== undefined) {
      writer.bytes(bytes);
      return;
    }
    const begin = writer.begin();
    // Half a surrogate pair, written \ud800, has no UTF-8.
    const isText = reader.unescape(
      (from, to) => writer.raw(reader.slice(from, to)),
      (codePoint) => writer.codePoint(codePoint),
    );
    if (!isText) this.#misfit('text without lone surrogates', reader.describeText());
    writer.end(begin);
  }

  #integer(type: string): number | bigint {
    const reader = this.#reader;
    const { min, max, words } = INTEGERS[type]!;
    const number = reader.takeNumber();
    // Enums are written as integers only.
    if (number === undefined && (type === 'enum' || !reader.takesString())) this.#misfit(words);
    const value = exactInteger(number ?? reader.shortText() ?? '');
    if (value === undefined || value < min || value > max)
      this.#misfit(words, number ?? reader.describeText());
    return value;
  }

  #writeInteger(field: FieldPlan, value: number | bigint): void {
    const writer = this.#writer;
    writer.uint32(field.tag);
    if (field.type === 'fixed32') writer.fixed32(Number(value));
    else if (field.type === 'fixed64') writer.fixed64(value);
    else writer.integer(value);
  }

  #double(): number {
    const reader = this.#reader;
    const number = reader.takeNumber();
    if (number === undefined && !reader.takesString()) this.#misfit(DOUBLE_WORDS);
    const text = number ?? reader.shortText() ?? '';
    const value = Number(text);
    // Digits that come to more than a double can hold are no infinity.
    if (!DOUBLE.test(text) || (Math.abs(value) === Infinity && !text.endsWith('Infinity'))) {
      this.#misfit(DOUBLE_WORDS, number ?? reader.describeText());
    }
    return value;
  }

  #hex(): Uint8Array {
    const words = 'hexadecimal digits, two a byte';
    const digits = this.#digits(words);
    if (digits.length % 2 !== 0) this.#misfit(words, this.#reader.describeText());
    return this.#decoded(digits, digits.length / 2, 'hex', HEX_DIGITS, words);
  }

  /** Of either alphabet, padded or not. */
  #base64(): Uint8Array {
    const words = 'base64';
    let digits = this.#digits(words);
    for (let i = 0; i < 2; i++) if (digits.at(-1) === PADDING) digits = digits.subarray(0, -1);
    if (digits.length % 4 === 1) this.#misfit(words, this.#reader.describeText());
    return this.#decoded(digits, Math.floor((digits.length * 3) / 4), 'base64', BASE64_DIGITS, words);
  }

  /** The content of the string that comes next. */
  #digits(words: string): Buffer {
    const reader = this.#reader;
    if (!reader.takesString()) this.#misfit(words);
    return reader.textBytes() ?? reader.unescapedBytes();
  }

  /** Piece by piece, so that no long string is made of them. */
  #decoded(
    digits: Buffer,
    size: number,
    encoding: 'hex' | 'base64',
    allowed: RegExp,
    words: string,
  ): Uint8Array {
    const decoded = Buffer.allocUnsafe(size);
    let length = 0;
    for (let at = 0; at < digits.length; at += DIGITS_AT_ONCE) {
      const text = digits.toString('latin1', at, at + DIGITS_AT_ONCE);
      if (!allowed.test(text)) this.#misfit(words, this.#reader.describeText());
      length += decoded.write(text, length, encoding);
    }
    return decoded.subarray(0, length);
  }

  /** `found`: the next value, where it is not given; numbers may be written with any number of digits. */
  #misfit(expected: string, found: string = this.#reader.describe()): never {
    const place = this.#path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('');
    throw new JsonMisfit(
      `${place === '' ? '' : `${place.slice(1)}: `}expected ${expected}; found ${found.slice(0, 40)}`,
    );
  }
}
