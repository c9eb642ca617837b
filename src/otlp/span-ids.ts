import { PARENT_SPAN_ID, SPAN_ID, TRACE_ID } from './wire-table.ts';

/** The length of an id that is not there. */
const ABSENT = -1;

/** Where the ids of one span stand in the payload. Of a repeated id the last counts. */
export class SpanIds {
  traceIdAt = 0;
  traceIdLength = ABSENT;
  spanIdAt = 0;
  spanIdLength = ABSENT;
  parentIdLength = ABSENT;

  /** To be called before each span. */
  reset(): void {
    this.traceIdLength = ABSENT;
    this.spanIdLength = ABSENT;
    this.parentIdLength = ABSENT;
  }

  /** The kind is one of the three of `wire-table.ts`; another is passed over. */
  note(kind: number, at: number, length: number): void {
    if (kind === TRACE_ID) {
      this.traceIdAt = at;
      this.traceIdLength = length;
    } else if (kind === SPAN_ID) {
      this.spanIdAt = at;
      this.spanIdLength = length;
    } else if (kind === PARENT_SPAN_ID) {
      this.parentIdLength = length;
    }
  }

  /**
   * A trace id has 16 bytes and a span id 8, and not all of them are zero; a parent span id has 8 bytes or none.
   * Makes no words: a request may have millions of bad spans.
   */
  areGood(bytes: Uint8Array): boolean {
    return (
      this.traceIdLength === 16 &&
      this.spanIdLength === 8 &&
      (this.parentIdLength <= 0 || this.parentIdLength === 8) &&
      !isZero(bytes, this.traceIdAt, 16) &&
      !isZero(bytes, this.spanIdAt, 8)
    );
  }

  /** What is wrong with ids that are not good. */
  problem(bytes: Uint8Array): string {
    return (
      problemOf('trace id', bytes, this.traceIdAt, this.traceIdLength, 16) ??
      problemOf('span id', bytes, this.spanIdAt, this.spanIdLength, 8) ??
      `parent span id of ${this.parentIdLength} bytes, not 8 or none`
    );
  }
}

function problemOf(
  name: string,
  bytes: Uint8Array,
  at: number,
  length: number,
  expected: number,
): string | undefined {
  if (length === ABSENT || length === 0) return `no ${name}`;
  if (length !== expected) return `${name} of ${length} bytes, not ${expected}`;
  return isZero(bytes, at, length) ? `${name} of zeros only` : undefined;
}

function isZero(bytes: Uint8Array, at: number, length: number): boolean {
  for (let pos = at; pos < at + length; pos++) if (bytes[pos] !== 0) return false;
  return true;
}
