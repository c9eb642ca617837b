import type { Field, Type } from 'protobufjs';
import { AnyValue, ExportTraceServiceRequest } from '../../src/otlp/schema.ts';
import type { Random } from '../fault/support/random.ts';

/*
 * Bodies in OTLP/JSON with every field of the schema, in each form that protobuf's JSON has for it: numbers as numbers and
 * as strings, enum values by number and by name, names as in the schema and in camel case, bytes in both alphabets of
 * base64 and with padding or without. And with what readers pass over: null, names that nobody knows, white space.
 */

/** Fields of a body, so that it stays small. */
const MOST_FIELDS = 60;
/** Values within values. */
const DEEPEST = 9;

const INTEGERS: Readonly<Record<string, readonly [bigint, ...bigint[]]>> = {
  int32: [0n, 1n, -1n, -(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 1n, 128n, 2n ** 32n - 1n],
  fixed32: [0n, 257n, 2n ** 31n, 2n ** 32n - 1n],
  int64: [0n, 1n, -1n, 2n ** 53n + 1n, -(2n ** 63n), 2n ** 63n - 1n, 2000n],
  fixed64: [0n, 1n, 1_544_712_660_000_000_001n, 2n ** 53n + 1n, 2n ** 64n - 1n],
};
const DOUBLES = [
  '0',
  '-0.0',
  '1',
  '-7',
  '0.1',
  '1.7976931348623157e308',
  '5e-324',
  '1E+2',
  '"NaN"',
  '"Infinity"',
  '"-Infinity"',
  '"2.5"',
  '123456789012345680000',
] as const;
const TEXTS = ['', 'k', 'chat', 'é€😀', '\u0000\u001f', '"\\/', '\u2028', 'x'.repeat(70)] as const;
const UNKNOWN = ['"new":[{"a":[null,1e9]},"x",{}]', '"Name":false', '"":{"spans":[]}', '"new":null'] as const;

export function generateJson(random: Random): string {
  return new Generator(random).message(ExportTraceServiceRequest, 0);
}

class Generator {
  readonly #random: Random;
  #left = MOST_FIELDS;

  constructor(random: Random) {
    this.#random = random;
  }

  message(type: Type, depth: number): string {
    const random = this.#random;
    const members = this.#fieldsOf(type, depth).map(
      (field) => `${this.#nameOf(field)}:${this.#member(field, depth)}`,
    );
    if (random.chance(0.08)) members.splice(random.below(members.length + 1), 0, random.pick(UNKNOWN));
    const space = random.chance(0.1) ? ' \t\r\n' : '';
    return `{${space}${members.join(`${space},${space}`)}${space}}`;
  }

  #fieldsOf(type: Type, depth: number): Field[] {
    const random = this.#random;
    const fields = type.fieldsArray.filter((field) => {
      const isMessage = field.resolve().resolvedType !== null;
      if ((depth > DEEPEST && isMessage) || this.#left <= 0) return false;
      return type === AnyValue || random.chance(isOnTheWay(field) ? 0.95 : 0.45);
    });
    if (type === AnyValue)
      return fields.length === 0 || random.chance(0.05) ? [] : [fields[random.below(fields.length)]!];
    return random.chance(0.2) ? fields.toReversed() : fields;
  }

  #nameOf({ jsonName, protoName, name }: Field): string {
    return JSON.stringify(this.#random.chance(0.3) ? (protoName ?? name) : (jsonName ?? name));
  }

  #member(field: Field, depth: number): string {
    const random = this.#random;
    this.#left -= 1;
    if (random.chance(0.04)) return 'null';
    if (!field.repeated) return this.#value(field, depth);
    const count = isOnTheWay(field) ? 1 + random.below(2) : random.below(3);
    return `[${Array.from({ length: count }, () => this.#value(field, depth)).join()}]`;
  }

  #value(field: Field, depth: number): string {
    const random = this.#random;
    const { resolvedType } = field;
    if (resolvedType !== null && 'fieldsArray' in resolvedType) return this.message(resolvedType, depth + 1);
    if (resolvedType !== null) {
      const { values } = resolvedType;
      const names = Object.keys(values);
      const name = names[random.below(names.length)]!;
      return random.chance(0.5) ? `"${name}"` : String(random.chance(0.1) ? 77 : values[name]);
    }
    switch (field.type) {
      case 'string':
        return this.#text();
      case 'bool':
        return random.pick(['true', 'false']);
      case 'double':
        return random.pick(DOUBLES);
      case 'bytes':
        return field.name.endsWith('Id') ? this.#id(field) : this.#bytes();
      default:
        return this.#integer(INTEGERS[field.type]!);
    }
  }

  /** Each character as JSON.stringify writes it, or by its number. */
  #text(): string {
    const random = this.#random;
    const isEscaped = random.chance(0.3);
    const characters = Array.from(random.pick(TEXTS), (character) =>
      isEscaped && random.chance(0.5) ? escaped(character) : JSON.stringify(character).slice(1, -1),
    );
    return `"${characters.join('')}"`;
  }

  #integer(values: readonly [bigint, ...bigint[]]): string {
    const random = this.#random;
    const value = random.pick(values);
    const form = random.below(4);
    if (form === 0) return String(value);
    if (form === 1 && value > -(2n ** 53n) && value < 2n ** 53n) return `${value}.0`;
    if (form === 2 && value !== 0n && value % 1000n === 0n) return `${value / 1000n}e3`;
    return `"${value}"`;
  }

  #id({ name }: Field): string {
    const random = this.#random;
    const size = name === 'traceId' ? 16 : 8;
    const bytes = this.#someBytes(random.chance(0.9) ? size : random.below(20));
    if (bytes.length === size && random.chance(0.1)) return `"${bytes.toString('base64')}"`;
    const digits = bytes.toString('hex');
    return `"${random.chance(0.3) ? digits.toUpperCase() : digits}"`;
  }

  #bytes(): string {
    const random = this.#random;
    const bytes = this.#someBytes(random.below(12));
    const padded = bytes.toString('base64');
    return `"${random.pick([padded, padded.replaceAll('=', ''), bytes.toString('base64url')])}"`;
  }

  #someBytes(size: number): Buffer {
    return Buffer.from(Array.from({ length: size }, () => this.#random.below(256)));
  }
}

function isOnTheWay({ name }: Field): boolean {
  return name === 'resourceSpans' || name === 'scopeSpans' || name === 'spans';
}

function escaped(character: string): string {
  return Array.from(
    { length: character.length },
    (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`,
  ).join('');
}
