import type { Field as SchemaField, Type } from 'protobufjs';
import { AnyValue, ExportTraceServiceRequest, Span } from '../../src/otlp/schema.ts';
import type { Random } from '../fault/support/random.ts';
import { bytesOfFields, leaf, messageTypeOf, raw, varint } from './field-tree.ts';
import type { Field, Message } from './field-tree.ts';

/*
 * Valid requests with every field of the schema, and with what parsers take though no SDK writes it: fields in any
 * order, unknown ones, groups, fields that come again, two members of a oneof, numbers longer than they must be.
 */

const VARINT = 0;
const FIXED64 = 1;
const START_GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

/** Fields of a request, so that bodies stay small: a fuzzer lives on their number. */
const MOST_FIELDS = 70;
/** Values within values, other than in the deep ones that are made on purpose. */
const USUAL_DEPTH = 10;

/** An encoder that never merges would not notice the numbers at the edges. */
const NUMBERS = [
  0n,
  1n,
  127n,
  128n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n + 1n,
  2n ** 63n,
  2n ** 64n - 1n,
] as const;
const DOUBLES = [
  0,
  -0,
  Number.NaN,
  Infinity,
  -Infinity,
  5e-324,
  1.7976931348623157e308,
  0.1,
  2 ** 53,
  1e21,
] as const;
const encoder = new TextEncoder();
const TEXTS = ['', 'k', 'chat', 'session.id', 'é€😀', '\u0000', '"\\/', 'x'.repeat(70)].map((text) =>
  encoder.encode(text),
);

export function generateRequest(random: Random): Field[] {
  return new Generator(random).request();
}

class Generator {
  readonly #random: Random;
  #left = MOST_FIELDS;

  constructor(random: Random) {
    this.#random = random;
  }

  request(): Field[] {
    const fields = this.#message(ExportTraceServiceRequest, 0);
    if (this.#random.chance(0.04)) this.#addDeepValue(fields);
    return fields;
  }

  #message(type: Type, depth: number): Field[] {
    const random = this.#random;
    const fields: Field[] = [];
    for (const field of type.fieldsArray) {
      for (let copies = this.#copies(type, field, depth); copies > 0; copies--) {
        if (this.#left-- <= 0) break;
        fields.push(this.#field(type, field, depth));
      }
    }
    while (random.chance(0.06)) fields.push(this.#unknown(depth));
    if (random.chance(0.05) && type.fieldsArray.length > 0) fields.push(this.#misplaced(type));
    if (random.chance(0.2)) this.#shuffle(fields);
    return fields;
  }

  #copies(type: Type, field: SchemaField, depth: number): number {
    const random = this.#random;
    if (depth > USUAL_DEPTH && field.resolve().resolvedType !== null) return 0;
    if (type === AnyValue) return random.chance(0.18) ? 1 : 0;
    const isOnTheWay =
      field.name === 'resourceSpans' || field.name === 'scopeSpans' || field.name === 'spans';
    if (isOnTheWay) return 1 + random.below(3);
    if (type === Span && (field.id === 1 || field.id === 2)) return random.chance(0.03) ? random.below(3) : 1;
    if (field.repeated) return random.chance(0.4) ? 1 + random.below(2) : 0;
    // Of a field that comes again the last counts; messages are merged.
    return random.chance(0.45) ? (random.chance(0.04) ? 2 : 1) : 0;
  }

  #field(type: Type, field: SchemaField, depth: number): Field {
    const { id } = field;
    const inner = messageTypeOf(type, id);
    const padding = this.#padding();
    if (inner !== undefined) {
      return { kind: 'message', number: id, padding, type: inner, fields: this.#message(inner, depth + 1) };
    }
    switch (field.type) {
      case 'string':
        return leaf(id, this.#text(), padding);
      case 'bytes':
        return leaf(id, this.#bytesOf(field), padding);
      case 'double':
        return raw(id, FIXED64, this.#random.chance(0.5) ? this.#bytes(8) : this.#double());
      case 'fixed64':
        return raw(id, FIXED64, this.#bytes(8));
      case 'fixed32':
        return raw(id, FIXED32, this.#bytes(4));
      default:
        return raw(id, VARINT, this.#number());
    }
  }

  #bytesOf(field: SchemaField): Uint8Array {
    const random = this.#random;
    const isId = field.name.endsWith('Id');
    if (!isId) return this.#bytes(random.below(20));
    const length = field.name === 'traceId' ? 16 : 8;
    if (random.chance(0.03)) return this.#bytes(random.below(20));
    if (random.chance(field.name === 'parentSpanId' ? 0.2 : 0.01)) return new Uint8Array(length);
    // Few traces, so that they mix.
    return new Uint8Array(length).fill(1 + random.below(5), random.below(length));
  }

  #text(): Uint8Array {
    return this.#random.pick(TEXTS as [Uint8Array, ...Uint8Array[]]);
  }

  #number(): number[] {
    const random = this.#random;
    if (random.chance(0.6)) return varint(random.below(200), random.chance(0.05) ? 1 + random.below(3) : 0);
    const value = random.pick(NUMBERS);
    return varint(value, value < 2n ** 32n && random.chance(0.1) ? 1 + random.below(4) : 0);
  }

  #double(): Uint8Array {
    const value = this.#random.pick(DOUBLES);
    return new Uint8Array(Float64Array.of(value).buffer);
  }

  #padding(): number {
    return this.#random.chance(0.02) ? 1 + this.#random.below(4) : 0;
  }

  #bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#random.below(256));
  }

  /** A field that is not in the schema, of any wire type. */
  #unknown(depth: number): Field {
    const random = this.#random;
    const number = random.chance(0.2) ? 2 ** 29 - 1 - random.below(4) : 17 + random.below(100);
    switch (random.below(5)) {
      case 0:
        return raw(number, VARINT, this.#number());
      case 1:
        return raw(number, FIXED64, this.#bytes(8));
      case 2:
        return leaf(number, this.#bytes(random.below(30)), this.#padding());
      case 3:
        return raw(number, FIXED32, this.#bytes(4));
      default: {
        const within = depth > USUAL_DEPTH || random.chance(0.4) ? [] : [this.#unknown(depth + 1)];
        return group(number, bytesOfFields(within));
      }
    }
  }

  /** A known number with another wire type than its own counts as unknown; packed numbers are such. */
  #misplaced(type: Type): Field {
    const random = this.#random;
    const { id } = random.pick(type.fieldsArray as [SchemaField, ...SchemaField[]]);
    switch (random.below(4)) {
      case 0:
        return raw(id, VARINT, this.#number());
      case 1:
        return group(id, new Uint8Array());
      case 2:
        return raw(id, FIXED32, this.#bytes(4));
      default: {
        const field = type.fieldsById[id]!;
        const isNumber = !['string', 'bytes'].includes(field.type) && messageTypeOf(type, id) === undefined;
        if (isNumber) return leaf(id, Uint8Array.from([...this.#number(), ...this.#number()]));
        return raw(id, FIXED64, this.#bytes(8));
      }
    }
  }

  #shuffle(fields: Field[]): void {
    for (let last = fields.length - 1; last > 0; last--) {
      const other = this.#random.below(last + 1);
      [fields[last], fields[other]] = [fields[other]!, fields[last]!];
    }
  }

  /** Arrays, maps or groups within each other, about as deep as parsers go. */
  #addDeepValue(fields: Field[]): void {
    const random = this.#random;
    const around = allMessages(fields);
    switch (random.below(3)) {
      case 0:
        this.#addNested(around, 46 + random.below(4), (inner) => [leaf(5, bytesOfFields([leaf(1, inner)]))]);
        return;
      case 1:
        this.#addNested(around, 30 + random.below(4), (inner) => [
          leaf(6, bytesOfFields([leaf(1, bytesOfFields([leaf(1, this.#text()), leaf(2, inner)]))])),
        ]);
        return;
      default: {
        let inner = new Uint8Array();
        for (let left = 88 + random.below(16); left > 0; left--)
          inner = new Uint8Array(group(20, inner).bytes);
        const into = around.length === 0 ? fields : random.pick(around as [Message, ...Message[]]).fields;
        into.push({ kind: 'raw', bytes: inner });
      }
    }
  }

  #addNested(around: Message[], times: number, wrap: (inner: Uint8Array) => Field[]): void {
    const spans = around.filter(({ type }) => type === Span);
    if (spans.length === 0) return;
    let value = bytesOfFields([leaf(1, this.#text())]);
    for (let left = times; left > 0; left--) value = bytesOfFields(wrap(value));
    const attribute = bytesOfFields([leaf(1, this.#text()), leaf(2, value)]);
    this.#random.pick(spans as [Message, ...Message[]]).fields.push(leaf(9, attribute));
  }
}

function group(number: number, content: Uint8Array): { kind: 'raw'; bytes: Uint8Array } {
  const start = varint(number * 8 + START_GROUP);
  const end = varint(number * 8 + END_GROUP);
  return { kind: 'raw', bytes: Uint8Array.from([...start, ...content, ...end]) };
}

function allMessages(fields: readonly Field[]): Message[] {
  return fields.flatMap((field) => (field.kind === 'message' ? [field, ...allMessages(field.fields)] : []));
}
