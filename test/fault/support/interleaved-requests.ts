import { randomBytes, randomFillSync } from 'node:crypto';
import { ExportTraceServiceRequest } from '../../../src/otlp/schema.ts';

/*
 * Requests as a busy agent's Collector sends them: of many traces some spans each, and of each trace the root last.
 * They are made by writing trace ids into one encoded request, so that making them costs nothing beside what they are
 * to measure.
 */

const TRACES_PER_GROUP = 10;
/** Spans of a trace, by request: the first, middle and last of them, the root the very last. */
const SLICES = [4, 4, 2] as const;

/** Of a whole trace. */
export const SPANS_PER_TRACE = SLICES.reduce<number>((sum, spans) => sum + spans, 0);
/** Of a request: each slice of a group of traces of its own. */
export const SPANS_PER_REQUEST = TRACES_PER_GROUP * SPANS_PER_TRACE;

/** Of `requests` requests of one maker: how many traces were sent by how many of their spans. */
export function tracesBySpans(requests: number): Map<number, number> {
  const counts = new Map<number, number>();
  // The groups that begin before the first request lack their first slices, those of the end their last.
  for (let group = 1 - SLICES.length; group < requests; group++) {
    const spans = SLICES.reduce<number>((sum, count, slice) => {
      return group + slice >= 0 && group + slice < requests ? sum + count : sum;
    }, 0);
    counts.set(spans, (counts.get(spans) ?? 0) + TRACES_PER_GROUP);
  }
  return counts;
}

export type RequestMaker = {
  /** The next request; the bytes are good until the next call. */
  next(): Uint8Array;
};

export function createRequestMaker(): RequestMaker {
  const ids = SLICES.map(() => Array.from({ length: TRACES_PER_GROUP }, () => randomBytes(16)));
  const bytes = encode(ids);
  const places = ids.map((group) => group.map((id) => placesOf(bytes, id)));
  return {
    next() {
      // Each group moves on by a slice; the oldest has had its root, and its ids become those of a new one.
      const oldest = ids.pop() ?? [];
      for (const id of oldest) randomFillSync(id);
      ids.unshift(oldest);
      for (const [slice, group] of ids.entries()) {
        for (const [trace, id] of group.entries()) {
          for (const place of places[slice]?.[trace] ?? []) id.copy(bytes, place);
        }
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

function encode(groups: readonly (readonly Buffer[])[]): Buffer {
  // The n-th trace of each group has the same span ids: a span is told by those of its trace and its own.
  const spanIds = Array.from({ length: TRACES_PER_GROUP }, () =>
    Array.from({ length: SPANS_PER_TRACE }, () => randomBytes(8)),
  );
  const spans: Record<string, unknown>[] = [];
  let first = 0;
  for (const [slice, traceIds] of groups.entries()) {
    const count = SLICES[slice] ?? 0;
    for (let index = first; index < first + count; index++) {
      for (const [trace, traceId] of traceIds.entries()) {
        spans.push(spanOf(traceId, spanIds[trace] ?? [], index));
      }
    }
    first += count;
  }
  const attributes = [{ key: 'service.name', value: { stringValue: 'agent' } }];
  const scope = { name: 'agent.instrumentation', version: '0.9' };
  const request = { resourceSpans: [{ resource: { attributes }, scopeSpans: [{ scope, spans }] }] };
  return Buffer.from(
    ExportTraceServiceRequest.encode(ExportTraceServiceRequest.fromObject(request)).finish(),
  );
}

const BEGIN = 1_700_000_000_000_000_000n;

const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
const number = (key: string, intValue: number) => ({ key, value: { intValue } });

/** Of about 750 bytes. */
function spanOf(traceId: Buffer, spanIds: readonly Buffer[], index: number): Record<string, unknown> {
  const isRoot = index === SPANS_PER_TRACE - 1;
  return {
    traceId,
    spanId: spanIds[index],
    parentSpanId: isRoot ? Buffer.alloc(0) : spanIds[SPANS_PER_TRACE - 1],
    name: isRoot ? 'invoke_agent planner' : `chat example-model ${index}`,
    kind: isRoot ? 1 : 3,
    startTimeUnixNano: String(BEGIN + BigInt(index) * 1_000_000n),
    endTimeUnixNano: String(BEGIN + BigInt(index) * 1_000_000n + 730_000_000n),
    attributes: [
      text('gen_ai.operation.name', isRoot ? 'invoke_agent' : 'chat'),
      text('gen_ai.request.model', 'example-model'),
      number('gen_ai.usage.input_tokens', 412 + index),
      number('gen_ai.usage.output_tokens', 23 + index),
      text('gen_ai.input.messages', randomBytes(180).toString('base64')),
      text('gen_ai.output.messages', randomBytes(150).toString('base64')),
    ],
    status: { code: 1 },
  };
}
