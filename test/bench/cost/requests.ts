import { randomBytes, randomFillSync, randomInt } from 'node:crypto';
import { ExportTraceServiceRequest } from '../../../src/otlp/schema.ts';

/** Of one trace in a request. */
const SPANS_PER_TRACE = 10;

export type RequestTemplate = {
  /** Bytes of one request. */
  readonly size: number;
  /** The request with fresh trace ids, in place: the bytes are good until the next call. */
  next(): Uint8Array;
};

/**
 * Requests of whole traces of ten spans (the last trace may have fewer), the root last, each span with ten attributes
 * of an LLM agent's kind and about 750 bytes. They differ in their trace ids only.
 */
export function createRequestTemplate(spanCount: number): RequestTemplate {
  const traceIds = Array.from({ length: Math.ceil(spanCount / SPANS_PER_TRACE) }, () => randomBytes(16));
  const spans = traceIds.flatMap((traceId, index) =>
    makeTrace(traceId, Math.min(SPANS_PER_TRACE, spanCount - index * SPANS_PER_TRACE)),
  );
  const bytes = encode(spans);
  const places = traceIds.map((traceId) => placesOf(bytes, traceId));
  const fresh = Buffer.alloc(16);
  return {
    size: bytes.byteLength,
    next() {
      for (const trace of places) {
        randomFillSync(fresh);
        for (const place of trace) fresh.copy(bytes, place);
      }
      return bytes;
    },
  };
}

function placesOf(bytes: Buffer, wanted: Buffer): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(wanted); at >= 0; at = bytes.indexOf(wanted, at + 1)) places.push(at);
  return places;
}

type Attribute = { key: string; value: Record<string, unknown> };

function makeTrace(traceId: Buffer, spanCount: number): Record<string, unknown>[] {
  const ids = Array.from({ length: spanCount }, () => randomBytes(8));
  const start = 1_700_000_000_000_000_000n;
  return ids.map((spanId, index) => {
    const isRoot = index === spanCount - 1;
    return {
      traceId,
      spanId,
      // Empty, it is the root.
      parentSpanId: isRoot ? Buffer.alloc(0) : ids[spanCount - 1],
      name: isRoot ? 'invoke_agent planner' : `chat model-${index % 3}`,
      kind: isRoot ? 1 : 3,
      startTimeUnixNano: String(start + BigInt(index) * 1_000_000n),
      endTimeUnixNano: String(start + BigInt(index) * 1_000_000n + 730_000_000n),
      attributes: attributes(index),
      status: { code: 1 },
    };
  });
}

function attributes(index: number): Attribute[] {
  return [
    { key: 'gen_ai.operation.name', value: { stringValue: 'chat' } },
    { key: 'gen_ai.provider.name', value: { stringValue: 'openai' } },
    { key: 'gen_ai.request.model', value: { stringValue: `model-${index % 3}` } },
    { key: 'gen_ai.conversation.id', value: { stringValue: randomBytes(12).toString('hex') } },
    { key: 'gen_ai.usage.input_tokens', value: { intValue: String(800 + index) } },
    { key: 'gen_ai.usage.output_tokens', value: { intValue: String(120 + index) } },
    { key: 'gen_ai.request.temperature', value: { doubleValue: 0.2 } },
    { key: 'server.address', value: { stringValue: 'models.example.com' } },
    { key: 'user.id', value: { stringValue: randomBytes(8).toString('hex') } },
    { key: 'input.value', value: { stringValue: `Summarise the following passage: ${words(300)}` } },
  ];
}

const VOCABULARY =
  `the agent reads a trace of spans and answers with short summary from document model tokens about
user session memory search result plan step tool weather order invoice customer report which because between after
before their would should could question answer context window language large small first second error retry time
zone city street number price total amount date customer support ticket opened closed pending review`.split(
    /\s+/,
  );

/** Prose compresses, random characters would not. */
function words(length: number): string {
  let text = '';
  while (text.length < length) text += `${VOCABULARY[randomInt(VOCABULARY.length)]} `;
  return text.slice(0, length);
}

function encode(spans: Record<string, unknown>[]): Buffer {
  const request = ExportTraceServiceRequest.fromObject({
    resourceSpans: [
      {
        resource: {
          attributes: [
            { key: 'service.name', value: { stringValue: 'agent' } },
            { key: 'service.version', value: { stringValue: '1.4.2' } },
          ],
        },
        scopeSpans: [{ scope: { name: 'agent.instrumentation', version: '0.9' }, spans }],
      },
    ],
  });
  return Buffer.from(ExportTraceServiceRequest.encode(request).finish());
}
