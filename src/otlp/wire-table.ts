import type { Type } from 'protobufjs';
import { AnyValue, ExportTraceServiceRequest, KeyValue, ResourceSpans, ScopeSpans, Span } from './schema.ts';
import { LEN } from './wire-reader.ts';

/** What the scanner does with a length-delimited field. From MESSAGE on: kind − MESSAGE is the type within. */
export const SKIP = 0;
export const TEXT = 1;
export const TRACE_ID = 2;
export const SPAN_ID = 3;
export const PARENT_SPAN_ID = 4;
export const MESSAGE = 5;

/** Field numbers below this have a place in the table; the schema uses none above. */
export const TABLE_WIDTH = 32;

const ID_KINDS: Readonly<Record<string, number>> = {
  traceId: TRACE_ID,
  spanId: SPAN_ID,
  parentSpanId: PARENT_SPAN_ID,
};

const types: Type[] = [ExportTraceServiceRequest];
const kindsOfTypes: number[][] = [];
// Grows while it is walked: every type that is met is appended once.
for (const type of types) {
  const kinds = Array.from({ length: TABLE_WIDTH }, () => SKIP);
  for (const field of type.fieldsArray) {
    if (field.id >= TABLE_WIDTH) throw new Error(`${field.fullName}: no place in the table of the scanner`);
    const { resolvedType } = field.resolve();
    if (resolvedType !== null && 'fieldsArray' in resolvedType) {
      if (!types.includes(resolvedType)) types.push(resolvedType);
      kinds[field.id] = MESSAGE + types.indexOf(resolvedType);
    } else if (field.type === 'string') {
      kinds[field.id] = TEXT;
    } else if (type === Span) {
      kinds[field.id] = ID_KINDS[field.name] ?? SKIP;
    }
  }
  kindsOfTypes.push(kinds);
}

/** Kinds of all fields, at type * TABLE_WIDTH + field number; type 0 is the request. Made from proto/. */
export const KINDS = Uint8Array.from(kindsOfTypes.flat());

/** The types that lead from the request to its spans. */
export const RESOURCE_SPANS_TYPE = types.indexOf(ResourceSpans);
export const SCOPE_SPANS_TYPE = types.indexOf(ScopeSpans);
export const SPAN_TYPE = types.indexOf(Span);
export const ANY_VALUE_TYPE = types.indexOf(AnyValue);
export const KEY_VALUE_TYPE = types.indexOf(KeyValue);

/** What stands in a field of a type, by its tag. */
export function kindOf(type: number, tag: number): number {
  const fieldNumber = tag >>> 3;
  return (tag & 7) === LEN && fieldNumber < TABLE_WIDTH ? KINDS[type * TABLE_WIDTH + fieldNumber]! : SKIP;
}

/** Name of a field, for people: `Span.trace_state`. */
export function nameOfField(type: number, fieldNumber: number): string {
  const message = types[type]!;
  return `${message.name}.${message.fieldsById[fieldNumber]?.protoName ?? fieldNumber}`;
}
