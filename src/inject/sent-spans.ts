import { tracesToJson } from '../otlp/traces-json.ts';
import type { SpanOf } from './stored-trace.ts';

/** A value of an attribute as it was sent; integers that a double cannot hold are bigints. */
export type SentValue =
  string | number | bigint | boolean | null | Uint8Array | SentValue[] | { [key: string]: SentValue };
export type SentAttributes = Record<string, SentValue>;

export type SentSpan = SpanOf<SentValue> & { kind: string };

/** Of OTLP's Span, by number; what is unknown counts as unspecified. */
const SPAN_KINDS = [
  'SPAN_KIND_UNSPECIFIED',
  'SPAN_KIND_INTERNAL',
  'SPAN_KIND_SERVER',
  'SPAN_KIND_CLIENT',
  'SPAN_KIND_PRODUCER',
  'SPAN_KIND_CONSUMER',
];
/** Of OTLP's Status; what is unknown counts as unset. */
const STATUS_CODES = ['STATUS_CODE_UNSET', 'STATUS_CODE_OK', 'STATUS_CODE_ERROR'];

// oxlint-disable-next-line typescript/no-explicit-any -- the schema in proto/ says what is in it
type Json = any;

/**
 * The spans of ExportTraceServiceRequests by their trace, ids in hex. Of a span that is there twice the last one counts,
 * as in MLflow.
 * @throws if the bytes are no such requests
 */
export function sentTraces(payloads: readonly Uint8Array[]): Map<string, SentSpan[]> {
  const traces = new Map<string, Map<string, SentSpan>>();
  for (const payload of payloads) {
    const { resourceSpans = [] } = tracesToJson(payload) as Json;
    for (const { scopeSpans = [] } of resourceSpans) {
      for (const { spans = [] } of scopeSpans) {
        for (const span of (spans as Json[]).map(toSpan)) {
          const trace = traces.get(span.traceId) ?? new Map<string, SentSpan>();
          traces.set(span.traceId, trace.set(span.spanId, span));
        }
      }
    }
  }
  return new Map([...traces].map(([traceId, spans]) => [traceId, [...spans.values()]]));
}

function toSpan(span: Json): SentSpan {
  const parentSpanId: string = span.parentSpanId ?? '';
  return {
    traceId: span.traceId ?? '',
    spanId: span.spanId ?? '',
    parentSpanId: /^0*$/.test(parentSpanId) ? '' : parentSpanId,
    name: span.name ?? '',
    kind: SPAN_KINDS[span.kind ?? 0] ?? 'SPAN_KIND_UNSPECIFIED',
    start: BigInt(span.startTimeUnixNano ?? 0),
    end: BigInt(span.endTimeUnixNano ?? 0),
    attributes: toAttributes(span.attributes),
    events: (span.events ?? []).map((event: Json) => ({
      name: event.name ?? '',
      time: BigInt(event.timeUnixNano ?? 0),
      attributes: toAttributes(event.attributes),
    })),
    links: (span.links ?? []).map((link: Json) => ({
      traceId: link.traceId ?? '',
      spanId: link.spanId ?? '',
      attributes: toAttributes(link.attributes),
    })),
    status: {
      code: STATUS_CODES[span.status?.code ?? 0] ?? 'STATUS_CODE_UNSET',
      message: span.status?.message ?? '',
    },
  };
}

function toAttributes(pairs: Json): SentAttributes {
  return Object.fromEntries((pairs ?? []).map(({ key, value }: Json) => [key ?? '', toValue(value ?? {})]));
}

function toValue(value: Json): SentValue {
  if ('arrayValue' in value) return (value.arrayValue.values ?? []).map(toValue);
  if ('kvlistValue' in value) return toAttributes(value.kvlistValue.values);
  if ('bytesValue' in value) return Buffer.from(value.bytesValue, 'base64');
  if ('intValue' in value) {
    const integer = BigInt(value.intValue);
    return Number.isSafeInteger(Number(integer)) ? Number(integer) : integer;
  }
  if (value.doubleValue === '-0') return -0;
  return value.stringValue ?? value.boolValue ?? value.doubleValue ?? null;
}
