import { isUtf8 } from 'node:buffer';
import { MAX_DEPTH } from './schema.ts';
import { LEN, WireReader } from './wire-reader.ts';
import {
  KINDS,
  MESSAGE,
  nameOfField,
  PARENT_SPAN_ID,
  SKIP,
  SPAN_ID,
  SPAN_TYPE,
  TABLE_WIDTH,
  TEXT,
  TRACE_ID,
} from './wire-table.ts';

export { cutSpans } from './cut.ts';
export { indexSpans, type SpanSlice } from './span-index.ts';
export { splitSpans, type PayloadPart } from './split.ts';

export type ScanResult =
  /**
   * Decodable. `invalidSpans`: positions, in wire order from 0, of the spans whose ids are bad; `problem` says
   * what is wrong with the first.
   */
  | { ok: true; spanCount: number; invalidSpans: readonly number[]; problem?: string }
  /** Not decodable; `message` says at which byte, and why. */
  | { ok: false; message: string };

/**
 * Walks the bytes of an ExportTraceServiceRequest once and tells whether protobuf parsers will take them:
 * framing, UTF-8 in every string, nesting (at most 100 messages below the request). Spans must have a trace id
 * of 16 bytes and a span id of 8, not all zero, and a parent span id of 8 bytes or none; of a repeated id the
 * last counts. A known field with another wire type counts as unknown, as parsers have it. Never throws.
 */
export function scanTraces(payload: Uint8Array): ScanResult {
  const scanner = new Scanner(payload);
  if (!scanner.message(0, payload.length, 0)) {
    const { problemAt, problem } = scanner.reader;
    return {
      ok: false,
      message: `not an ExportTraceServiceRequest in protobuf: ${problem}, at byte ${problemAt} of ${payload.length}`,
    };
  }
  const { spanCount, invalidSpans, problem } = scanner;
  return { ok: true, spanCount, invalidSpans, ...(problem === undefined ? {} : { problem }) };
}

/** Strings up to this many bytes are looked at in a loop; beyond it the call into native code is cheaper. */
const SHORT_TEXT = 64;

const ABSENT = -1;

class Scanner {
  readonly reader: WireReader;
  readonly invalidSpans: number[] = [];
  spanCount = 0;
  problem: string | undefined;

  // Where the ids of the span at hand begin, and their lengths.
  #traceIdAt = 0;
  #traceIdLength = ABSENT;
  #spanIdAt = 0;
  #spanIdLength = ABSENT;
  #parentIdLength = ABSENT;

  constructor(payload: Uint8Array) {
    this.reader = new WireReader(payload);
  }

  /** Walks one message up to `end`; false: bad bytes. Calls itself at most MAX_DEPTH deep. */
  message(type: number, end: number, depth: number): boolean {
    const { reader } = this;
    const row = type * TABLE_WIDTH;
    while (reader.pos < end) {
      const tag = reader.tag(end);
      if (tag === -1) return false;
      const fieldNumber = tag >>> 3;
      const kind = (tag & 7) === LEN && fieldNumber < TABLE_WIDTH ? KINDS[row + fieldNumber]! : SKIP;
      if (kind === SKIP) {
        if (!reader.skip(tag, end, depth)) return false;
        continue;
      }
      const length = reader.length(end);
      if (length === -1) return false;
      const at = reader.pos;
      if (kind === TEXT) {
        if (!isText(reader.bytes, at, at + length)) {
          return reader.fail(at, `invalid UTF-8 in ${nameOfField(type, fieldNumber)}`);
        }
      } else if (kind >= MESSAGE) {
        if (depth === MAX_DEPTH) return reader.fail(at, `messages nested more than ${MAX_DEPTH} deep`);
        const inner = kind - MESSAGE;
        if (
          inner === SPAN_TYPE
            ? !this.#span(at + length, depth + 1)
            : !this.message(inner, at + length, depth + 1)
        ) {
          return false;
        }
      } else if (kind === TRACE_ID) {
        this.#traceIdAt = at;
        this.#traceIdLength = length;
      } else if (kind === SPAN_ID) {
        this.#spanIdAt = at;
        this.#spanIdLength = length;
      } else if (kind === PARENT_SPAN_ID) {
        this.#parentIdLength = length;
      }
      reader.pos = at + length;
    }
    return true;
  }

  #span(end: number, depth: number): boolean {
    this.#traceIdLength = ABSENT;
    this.#spanIdLength = ABSENT;
    this.#parentIdLength = ABSENT;
    if (!this.message(SPAN_TYPE, end, depth)) return false;
    const problem =
      this.#problemOfId('trace id', this.#traceIdAt, this.#traceIdLength, 16) ??
      this.#problemOfId('span id', this.#spanIdAt, this.#spanIdLength, 8) ??
      (this.#parentIdLength > 0 && this.#parentIdLength !== 8
        ? `parent span id of ${this.#parentIdLength} bytes, not 8 or none`
        : undefined);
    if (problem !== undefined) {
      this.problem ??= `span ${this.spanCount} (counted from 0): ${problem}`;
      this.invalidSpans.push(this.spanCount);
    }
    this.spanCount++;
    return true;
  }

  #problemOfId(name: string, at: number, length: number, expected: number): string | undefined {
    if (length === ABSENT || length === 0) return `no ${name}`;
    if (length !== expected) return `${name} of ${length} bytes, not ${expected}`;
    return isZero(this.reader.bytes, at, at + length) ? `${name} of zeros only` : undefined;
  }
}

function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let pos = start; pos < end; pos++) if (bytes[pos] !== 0) return false;
  return true;
}

function isText(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start <= SHORT_TEXT) {
    let all = 0;
    for (let pos = start; pos < end; pos++) all |= bytes[pos]!;
    if (all < 0x80) return true;
  }
  return isUtf8(bytes.subarray(start, end));
}
