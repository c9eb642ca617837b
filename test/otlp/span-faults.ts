import fc from 'fast-check';
import type { Type } from 'protobufjs';
import { Span } from '../../src/otlp/schema.ts';
import { bytesOfFields, fieldsOfBytes, leaf, messageTypeOf } from '../fuzz/field-tree.ts';
import type { Field, Leaf } from '../fuzz/field-tree.ts';
import { hex, join, len, nest } from './bytes.ts';

/** What became of a span by a fault in it. */
export type Faulty = {
  readonly kind: 'text' | 'framing' | 'depth' | 'id';
  readonly span: Uint8Array;
  /** As it comes out, without its mark; undefined: it is left out. */
  readonly mended?: Uint8Array;
};

/** At the end of a message they cost all of it, and behind it nothing. */
const BROKEN_FRAMING = [
  '0f',
  '0e',
  '0c',
  '0001',
  '0a',
  '0a05 00',
  'a301',
  'a5 01 0000',
  'a1 01 00',
  'a001 ffffffffffffffffffff01',
  'a001 ffffffffffffffffff02',
  '808080808001',
].map(hex);

const array = (inner: Uint8Array) => len(5, len(1, inner));
const TOO_DEEP = len(9, len(1, 'k'), len(2, nest(48, len(1, 'x'), array)));
const BAD_IDS = [len(1, 'x'), len(2), len(1, new Uint8Array(16)), len(4, 'four')];

/** Puts one fault of one of the kinds at one place of a span; `places` chooses it. */
export function withFault(span: Uint8Array, kind: Faulty['kind'], places: number): Faulty {
  const fields = fieldsOfBytes(span, Span)!;
  if (kind === 'id') return { kind, span: join(span, BAD_IDS[places % BAD_IDS.length]!) };
  if (kind === 'depth') return { kind, span: places % 2 === 0 ? join(span, TOO_DEEP) : join(TOO_DEEP, span) };
  if (kind === 'framing') {
    const within = messagesIn(fields);
    const message = within[places % within.length]!;
    const bytes = BROKEN_FRAMING[Math.floor(places / within.length) % BROKEN_FRAMING.length]!;
    message.push({ kind: 'raw', bytes });
    return { kind, span: bytesOfFields(fields) };
  }
  const texts = textsIn(Span, fields);
  const text = texts[places % texts.length]!;
  const { bytes } = text;
  const isFirst = Math.floor(places / texts.length) % 2 === 0;
  const around = (part: string) => (isFirst ? join(hex(part), bytes) : join(bytes, hex(part)));
  text.bytes = around('ff');
  const broken = bytesOfFields(fields);
  text.bytes = around('efbfbd');
  return { kind, span: broken, mended: bytesOfFields(fields) };
}

export const faultKind: fc.Arbitrary<Faulty['kind']> = fc.constantFrom(
  'text',
  'text',
  'framing',
  'depth',
  'id',
);

/** Lists of fields of a span and of all messages in it. */
function messagesIn(fields: Field[]): Field[][] {
  return [fields, ...fields.flatMap((field) => (field.kind === 'message' ? messagesIn(field.fields) : []))];
}

/** Texts in a message, at any depth; a name is made where there is none. */
function textsIn(type: Type, fields: Field[]): Leaf[] {
  const texts = allTextsIn(type, fields);
  if (texts.length > 0) return texts;
  const name = leaf(5, hex(''));
  fields.push(name);
  return [name];
}

function allTextsIn(type: Type, fields: readonly Field[]): Leaf[] {
  return fields.flatMap((field): Leaf[] => {
    if (field.kind === 'raw') return [];
    if (field.kind === 'message') return allTextsIn(messageTypeOf(type, field.number)!, field.fields);
    return type.fieldsById[field.number]?.type === 'string' ? [field] : [];
  });
}
