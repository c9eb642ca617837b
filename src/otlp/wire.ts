import { Scanner } from './scanner.ts';

export { cutSpans } from './cut.ts';
export { indexSpans, spanEnds, type SpanSlice } from './span-index.ts';
export { splitSpans, type PayloadPart } from './split.ts';

export type ScanResult =
  /** Decodable. `invalidSpanCount`: spans whose ids are bad; `problem` says what is wrong with the first of them. */
  | { ok: true; spanCount: number; invalidSpanCount: number; problem?: string }
  /** Not decodable; `message` says at which byte, and why. */
  | { ok: false; message: string };

/**
 * Walks the bytes of an ExportTraceServiceRequest once and tells whether protobuf parsers will take them:
 * framing, UTF-8 in every string, nesting (at most 100 messages below the request). Spans must have a trace id
 * of 16 bytes and a span id of 8, not all zero, and a parent span id of 8 bytes or none; of a repeated id the
 * last counts. A known field with another wire type counts as unknown, as parsers have it. Never throws.
 */
export function scanTraces(payload: Uint8Array): ScanResult {
  const scanner = new Scanner(payload, Infinity);
  if (!scanner.request()) return scanner.refusal();
  const { spanCount, invalidSpanCount, problem } = scanner;
  return { ok: true, spanCount, invalidSpanCount, ...(problem === undefined ? {} : { problem }) };
}
