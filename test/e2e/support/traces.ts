import { randomBytes } from 'node:crypto';
import { ExportTraceServiceRequest } from '../../../src/otlp/schema.ts';
import type { StoredAttributes, StoredSpan, StoredTrace, StoredValue } from '../../stack/mlflow-client.ts';

/*
 * Spans are made in the shape in which they are read back, and encoded from there, so that what was sent and what
 * MLflow has can be compared as they are.
 */

export type TestTrace = { readonly traceId: string; readonly spans: StoredSpan[] };
/** Spans with the resource that they are sent under. */
export type ResourceSpans = { readonly resource: StoredAttributes; readonly spans: readonly StoredSpan[] };
/** An ExportTraceServiceRequest as OTLP/JSON. */
export type OtlpRequest = { resourceSpans: Record<string, unknown>[] };

const BEGIN = 1_700_000_000_000_000_000n;

/** A root and its descendants, each the child of the one before, and the root last, as it ends last. */
export function makeTrace(spanCount = 2, more: Partial<StoredSpan> = {}): TestTrace {
  const traceId = randomBytes(16).toString('hex');
  const ids = Array.from({ length: spanCount }, () => randomBytes(8).toString('hex'));
  const toSpan = (spanId: string, depth: number): StoredSpan => ({
    traceId,
    spanId,
    parentSpanId: ids[depth - 1] ?? '',
    name: `span ${depth}`,
    kind: depth === 0 ? 'SPAN_KIND_SERVER' : 'SPAN_KIND_CLIENT',
    start: BEGIN + BigInt(depth),
    end: BEGIN + 1_000_000_007n - BigInt(depth),
    attributes: { depth },
    events: [],
    links: [],
    status: { code: 'STATUS_CODE_UNSET', message: '' },
    ...more,
  });
  return { traceId, spans: ids.map(toSpan).toReversed() };
}

export function toRequest(...groups: readonly ResourceSpans[]): OtlpRequest {
  return {
    resourceSpans: groups.map(({ resource, spans }) => ({
      resource: { attributes: toKeyValues(resource) },
      scopeSpans: [{ scope: { name: 'e2e', version: '1' }, spans: spans.map(toOtlp) }],
    })),
  };
}

/** A request with these spans under one resource. */
export function requestOf(spans: readonly StoredSpan[]): OtlpRequest {
  return toRequest({ resource: { 'service.name': 'e2e' }, spans });
}

/** As protobufjs encodes it, with the schema and without code of the relay. */
export function toProtobuf(request: OtlpRequest): Buffer {
  const message = ExportTraceServiceRequest.fromObject(idsToBase64(request));
  return Buffer.from(ExportTraceServiceRequest.encode(message).finish());
}

/** What MLflow shows of these spans: each also tells the id of its trace in an attribute. In the order of ids. */
export function asStored(spans: readonly StoredSpan[]): StoredSpan[] {
  return inOrder(
    spans.map((span) => ({
      ...span,
      attributes: { ...span.attributes, 'mlflow.traceRequestId': `tr-${span.traceId}` },
    })),
  );
}

/** As MLflow before 3.18 gives it back. */
export function withoutKinds(trace: TestTrace): TestTrace {
  return { ...trace, spans: trace.spans.map((span) => ({ ...span, kind: undefined })) };
}

/** MLflow gives spans back in the order of their times, which does not say which of two equal ones is first. */
export function inOrder(spans: readonly StoredSpan[]): StoredSpan[] {
  return spans.toSorted((a, b) => (a.spanId < b.spanId ? -1 : 1));
}

/** The trace as it would be under another id, for comparing two that differ in nothing else. */
export function withTraceId(trace: StoredTrace, traceId: string): StoredTrace {
  const replace = (value: unknown): unknown => {
    if (typeof value === 'string') return value.replaceAll(trace.traceId, traceId);
    if (Array.isArray(value)) return value.map(replace);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, replace(inner)]));
  };
  return replace(trace) as StoredTrace;
}

function toOtlp(span: StoredSpan): Record<string, unknown> {
  const { traceId, spanId, parentSpanId, name, kind, start, end, attributes, events, links, status } = span;
  return {
    traceId,
    spanId,
    ...(parentSpanId !== '' && { parentSpanId }),
    name,
    ...(kind !== undefined && { kind: SPAN_KINDS.indexOf(kind) }),
    startTimeUnixNano: String(start),
    endTimeUnixNano: String(end),
    attributes: toKeyValues(attributes),
    events: events.map((event) => ({
      name: event.name,
      timeUnixNano: String(event.time),
      attributes: toKeyValues(event.attributes),
    })),
    links: links.map((link) => ({
      traceId: link.traceId,
      spanId: link.spanId,
      attributes: toKeyValues(link.attributes),
    })),
    status: { code: STATUS_CODES.indexOf(status.code), message: status.message },
  };
}

/** By their numbers. */
const SPAN_KINDS = [
  'SPAN_KIND_UNSPECIFIED',
  'SPAN_KIND_INTERNAL',
  'SPAN_KIND_SERVER',
  'SPAN_KIND_CLIENT',
  'SPAN_KIND_PRODUCER',
  'SPAN_KIND_CONSUMER',
];
const STATUS_CODES = ['STATUS_CODE_UNSET', 'STATUS_CODE_OK', 'STATUS_CODE_ERROR'];

function toKeyValues(attributes: StoredAttributes): { key: string; value: unknown }[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: toAnyValue(value) }));
}

function toAnyValue(value: StoredValue): Record<string, unknown> {
  if (value === null) return {};
  if (Array.isArray(value)) return { arrayValue: { values: value.map(toAnyValue) } };
  switch (typeof value) {
    case 'string':
      return { stringValue: value };
    case 'boolean':
      return { boolValue: value };
    case 'bigint':
      return { intValue: String(value) };
    case 'number':
      return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
    default:
      return { kvlistValue: { values: toKeyValues(value) } };
  }
}

/** In OTLP/JSON ids are hex, where protobuf's own JSON has base64. */
function idsToBase64(value: unknown): Record<string, unknown> {
  return JSON.parse(JSON.stringify(value), (key, inner: unknown) =>
    /^(traceId|spanId|parentSpanId)$/.test(key)
      ? Buffer.from(String(inner), 'hex').toString('base64')
      : inner,
  ) as Record<string, unknown>;
}
