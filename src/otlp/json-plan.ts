import protobuf, { type Field, type Type } from 'protobufjs';
import {
  ExportTraceServiceRequest,
  InstrumentationScope,
  ResourceSpans,
  ScopeSpans,
  Span,
} from './schema.ts';
import { LEN, VARINT } from './wire-reader.ts';

export type FieldPlan = {
  readonly key: string;
  readonly keyBytes: Uint8Array;
  /** Other names by which it is known: as in proto/, and as before OTLP 0.15. */
  readonly otherNames: readonly Uint8Array[];
  /** One bit of its own among the fields of the message. */
  readonly bit: number;
  readonly tag: number;
  readonly type: string;
  readonly repeated: boolean;
  /** Written even when it holds the default of its type. */
  readonly explicit: boolean;
  readonly inOneof: boolean;
  readonly message: MessagePlan | undefined;
  /** Numbers of the values of an enum, by name. */
  readonly names: ReadonlyMap<string, number> | undefined;
  /** It is a list that leads to spans, or has them. */
  readonly leadsToSpans: boolean;
  /** It counts only where the field that took its place leads to no span. */
  readonly isOld: boolean;
};
export type MessagePlan = { fields: readonly FieldPlan[]; readonly isSpan: boolean };

/** These `bytes` are hexadecimal in OTLP, in every message; all others are base64. */
const HEX_FIELDS = new Set(['traceId', 'spanId', 'parentSpanId']);

const INTEGER_TYPES = new Set(['enum', 'uint32', 'fixed32', 'int32', 'int64', 'fixed64']);
const OTHER_TYPES = new Set(['message', 'string', 'bool', 'double', 'hex', 'bytes']);

/** What leads from the request to its spans. */
const ON_THE_WAY: ReadonlySet<unknown> = new Set([ResourceSpans, ScopeSpans, Span]);

/** Names of before OTLP 0.15, beside the one of today. */
const OLD_SCOPE_NAMES = ['instrumentationLibrary', 'instrumentation_library'];
const OLD_SPANS_NAMES = ['instrumentationLibrarySpans', 'instrumentation_library_spans'] as const;

const plans = new Map<Type, MessagePlan>();
/** How to encode a request from JSON, field by field. Made from proto/. */
export const REQUEST = planOf(ExportTraceServiceRequest);

function planOf(type: Type): MessagePlan {
  const known = plans.get(type);
  if (known !== undefined) return known;
  const plan: MessagePlan = { fields: [], isSpan: type === Span };
  plans.set(type, plan);
  if (type.fieldsArray.length > 31 || type.oneofsArray.length > 1)
    throw new Error(`${type.name}: no room for it`);
  const fields = type.fieldsArray.map((field, index) => planOfField(field.resolve(), 1 << index));
  const scopeSpans = type === ResourceSpans ? fields.find(({ key }) => key === 'scopeSpans') : undefined;
  plan.fields = scopeSpans === undefined ? fields : [...fields, oldForm(scopeSpans, 1 << fields.length)];
  return plan;
}

/**
 * The list that was renamed in OTLP 0.15. Senders of that time may fill both with the same spans, so receivers read the
 * old one where the new one is not set (opentelemetry-proto v0.15.0, trace.proto).
 */
function oldForm(field: FieldPlan, bit: number): FieldPlan {
  const [key, ...others] = OLD_SPANS_NAMES;
  const names = { key, keyBytes: Buffer.from(key), otherNames: others.map((name) => Buffer.from(name)) };
  return { ...field, ...names, bit, isOld: true };
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
    otherNames: otherNamesOf(field, key).map((name) => Buffer.from(name)),
    bit,
    tag: (field.id << 3) | (type === 'enum' ? VARINT : (wireTypes[field.type] ?? LEN)),
    type,
    repeated: field.repeated,
    explicit: field.repeated || field.hasPresence,
    inOneof: field.partOf !== null,
    message,
    names:
      resolvedType !== null && 'values' in resolvedType
        ? new Map(Object.entries(resolvedType.values))
        : undefined,
    leadsToSpans: ON_THE_WAY.has(resolvedType),
    isOld: false,
  };
}

function otherNamesOf({ protoName, resolvedType }: Field, key: string): string[] {
  const old = resolvedType === InstrumentationScope ? OLD_SCOPE_NAMES : [];
  return protoName === undefined || protoName === key ? old : [protoName, ...old];
}
