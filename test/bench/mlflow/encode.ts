import { createHash } from 'node:crypto';
import { ExportTraceServiceRequest } from '../../../src/otlp/schema.ts';
import { SERVICES } from './scenario.ts';
import type { PlannedSpan, Scenario } from './scenario.ts';

/** Turns planned spans into requests of one run: their ids are its own, and its spans end when they are sent. */
export type Encoder = (spans: readonly PlannedSpan[]) => Buffer;

/** @param beginMs first moment of the scenario, ms since the Unix epoch */
export function createEncoder(scenario: Scenario, run: string, beginMs: number): Encoder {
  const traceId = (trace: number) => digest(`${run} ${trace}`, 16);
  const spanId = (trace: number, index: number) => digest(`${run} ${trace} ${index}`, 8);
  const root = scenario.spansPerTrace - 1;

  function toSpan({ trace, index, endMs }: PlannedSpan): Record<string, unknown> {
    const isRoot = index === root;
    const lastedMs = isRoot ? scenario.traceSeconds * 1000 : 50 + ((index * 37) % 200);
    return {
      traceId: traceId(trace),
      spanId: spanId(trace, index),
      ...(!isRoot && { parentSpanId: spanId(trace, root) }),
      name: isRoot ? 'answer a question' : `search ${index}`,
      kind: 2,
      startTimeUnixNano: toNanoseconds(beginMs + endMs - lastedMs),
      endTimeUnixNano: toNanoseconds(beginMs + endMs),
      attributes: attributesOf(trace, index),
      status: { code: 1 },
    };
  }

  return (spans) => {
    const resourceSpans = Array.from({ length: SERVICES }, (_, service) => ({
      resource: {
        attributes: [text('service.name', `service-${service}`), text('service.version', '1.4.2')],
      },
      scopeSpans: [
        {
          scope: { name: 'http.instrumentation', version: '0.9' },
          spans: spans.filter((span) => span.service === service).map(toSpan),
        },
      ],
    })).filter(({ scopeSpans }) => scopeSpans.some((scope) => scope.spans.length > 0));
    return Buffer.from(
      ExportTraceServiceRequest.encode(ExportTraceServiceRequest.fromObject({ resourceSpans })).finish(),
    );
  };
}

function digest(words: string, bytes: number): Buffer {
  return createHash('sha256').update(words).digest().subarray(0, bytes);
}

function toNanoseconds(ms: number): string {
  return String(BigInt(Math.round(ms * 1000)) * 1000n);
}

type Attribute = { key: string; value: Record<string, unknown> };

function text(key: string, value: string): Attribute {
  return { key, value: { stringValue: value } };
}

function integer(key: string, value: number): Attribute {
  return { key, value: { intValue: String(value) } };
}

/** Without models and token counts: MLflow would take longer to look for their prices than to store them. */
function attributesOf(trace: number, index: number): Attribute[] {
  return [
    text('http.request.method', 'POST'),
    text('url.path', `/search/${index}`),
    text('server.address', 'search.example.com'),
    text('request.id', `request-${trace}-${index}`),
    integer('http.response.status_code', 200),
  ];
}
