import { ExportTraceServiceRequest } from './schema.ts';

const IDS: ReadonlySet<string> = new Set(['traceId', 'spanId', 'parentSpanId']);

/**
 * An ExportTraceServiceRequest as OTLP/JSON, for people: ids in hex, other bytes in base64, 64-bit integers as strings,
 * enums as numbers, -0 as a string (JSON.stringify would drop its sign). Fields that the schema does not know are left
 * out.
 *
 * @throws if the bytes are no such request
 */
export function tracesToJson(payload: Uint8Array): unknown {
  const message = ExportTraceServiceRequest.decode(payload);
  const plain = ExportTraceServiceRequest.toObject(message, { longs: String, json: true });
  return withTextForBytes(plain, '');
}

function withTextForBytes(value: unknown, key: string): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString(IDS.has(key) ? 'hex' : 'base64');
  if (Array.isArray(value)) return value.map((each) => withTextForBytes(each, ''));
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? '-0' : value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name, withTextForBytes(each, name)]),
  );
}
