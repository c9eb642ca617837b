import { ExportTraceServiceRequest } from '../../src/otlp/schema.ts';

export type Value =
  string | number | boolean | null | Uint8Array | readonly Value[] | { readonly [key: string]: Value };
export type Attributes = readonly (readonly [string, Value])[];
export type TestSpan = { readonly attributes?: Attributes; readonly start?: bigint; readonly end?: bigint };

export const NOW = 1_700_000_000_000_000_000n;
/** The last nanosecond that a signed number of 64 bits has. */
export const LATEST = 2n ** 63n - 1n;

function toAny(value: Value): object {
  if (value === null) return {};
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'number')
    return Number.isInteger(value) ? { intValue: value } : { doubleValue: value };
  if (value instanceof Uint8Array) return { bytesValue: Buffer.from(value) };
  if (Array.isArray(value)) return { arrayValue: { values: value.map(toAny) } };
  return {
    kvlistValue: { values: Object.entries(value).map(([key, inner]) => ({ key, value: toAny(inner) })) },
  };
}

/** A request with these spans, all of one trace. */
export function encode(...spans: readonly TestSpan[]): Buffer {
  const message = {
    resourceSpans: [
      {
        scopeSpans: [
          {
            spans: spans.map(({ attributes = [], start = NOW, end = NOW + 5n }, index) => ({
              traceId: Buffer.alloc(16, 1),
              spanId: Buffer.alloc(8, index + 1),
              name: 'span',
              startTimeUnixNano: String(start),
              endTimeUnixNano: String(end),
              attributes: attributes.map(([key, value]) => ({ key, value: toAny(value) })),
            })),
          },
        ],
      },
    ],
  };
  return Buffer.from(
    ExportTraceServiceRequest.encode(ExportTraceServiceRequest.fromObject(message)).finish(),
  );
}

export const SESSION = 'session.id';
export const CONVERSATION = 'gen_ai.conversation.id';
export const COST = 'mlflow.llm.cost';
export const USAGE = 'mlflow.chat.tokenUsage';
export const long = 'x'.repeat(300);
export const quoted = JSON.stringify;
