import protobuf, { type Field, type Type } from 'protobufjs';
import { ExportTraceServiceRequest } from './schema.ts';
import { LEN, VARINT } from './wire-reader.ts';

export type FieldPlan = {
  readonly key: string;
  readonly keyBytes: Uint8Array;
  /** One bit of its own among the fields of the message. */
  readonly bit: number;
  readonly tag: number;
  readonly type: string;
  readonly repeated: boolean;
  /** Written even when it holds the default of its type. */
  readonly explicit: boolean;
  readonly inOneof: boolean;
  readonly message: MessagePlan | undefined;
};
export type MessagePlan = { fields: readonly FieldPlan[] };

/** These `bytes` are hexadecimal in OTLP, in every message; all others are base64. */
const HEX_FIELDS = new Set(['traceId', 'spanId', 'parentSpanId']);

const INTEGER_TYPES = new Set(['enum', 'uint32', 'fixed32', 'int32', 'int64', 'fixed64']);
const OTHER_TYPES = new Set(['message', 'string', 'bool', 'double', 'hex', 'bytes']);

const plans = new Map<Type, MessagePlan>();
/** How to encode a request from JSON, field by field. Made from proto/. */
export const REQUEST = planOf(ExportTraceServiceRequest);

function planOf(type: Type): MessagePlan {
  const known = plans.get(type);
  if (known !== undefined) return known;
  const plan: MessagePlan = { fields: [] };
  plans.set(type, plan);
  if (type.fieldsArray.length > 32 || type.oneofsArray.length > 1)
    throw new Error(`${type.name}: no room for it`);
  plan.fields = type.fieldsArray.map((field, index) => planOfField(field.resolve(), 1 << index));
  return plan;
}

function planOfField(field: Field, bit: number): FieldPlan {
  const { resolvedType } = field;
  const key = field.jsonName!;
  const message = resolvedType !== null && 'fieldsArray' in resolvedType ? planOf(resolvedType) : undefined;
  let type = field.type;
  if (message !== undefined) type = 'message';
  else if (resolvedType !== null) type = 'enum';
  else if (type === 'bytes' && HEX_FIELDS.has(key)) type = 'hex';
  if (!INTEGER_TYPES.has(type) && !OTHER_TYPES.has(type))
    throw new Error(`${field.fullName}: unknown type ${type}`);
  const wireTypes: Readonly<Record<string, number>> = protobuf.types.basic;
  return {
    key,
    keyBytes: Buffer.from(key),
    bit,
    tag: (field.id << 3) | (type === 'enum' ? VARINT : (wireTypes[field.type] ?? LEN)),
    type,
    repeated: field.repeated,
    explicit: field.repeated || field.hasPresence,
    inOneof: field.partOf !== null,
    message,
  };
}
