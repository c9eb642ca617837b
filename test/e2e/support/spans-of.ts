import type { IncomingHttpHeaders } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { ExportTraceServiceRequest } from '../../../src/otlp/schema.ts';

/** Ids in hex. */
export type SpanIds = { readonly traceId: string; readonly spanId: string };

type Decoded = {
  resourceSpans: { scopeSpans: { spans: { traceId: Uint8Array; spanId: Uint8Array }[] }[] }[];
};

/** The spans of a request to /v1/traces, in its order. */
export function spansOf(headers: IncomingHttpHeaders, body: Buffer): SpanIds[] {
  const plain = headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
  const { resourceSpans } = ExportTraceServiceRequest.decode(plain) as unknown as Decoded;
  return resourceSpans
    .flatMap(({ scopeSpans }) => scopeSpans)
    .flatMap(({ spans }) => spans)
    .map(({ traceId, spanId }) => ({ traceId: hex(traceId), spanId: hex(spanId) }));
}

/** For each trace in such a request how many spans. */
export function spansByTrace(headers: IncomingHttpHeaders, body: Buffer): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { traceId } of spansOf(headers, body)) counts.set(traceId, (counts.get(traceId) ?? 0) + 1);
  return counts;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
