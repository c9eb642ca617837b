import { MAX_DEPTH } from './schema.ts';
import { SpanIds } from './span-ids.ts';
import { isText } from './utf8.ts';
import { hasOldSpans } from './old-spans.ts';
import { LEN, WireReader } from './wire-reader.ts';
import {
  KINDS,
  MESSAGE,
  nameOfField,
  RESOURCE_SPANS_TYPE,
  SCOPE_SPANS_TYPE,
  SKIP,
  SPAN_TYPE,
  TABLE_WIDTH,
  TEXT,
} from './wire-table.ts';

/** What is around spans and too large: where, for people, and its bytes. */
export type Oversize = { readonly place: string; readonly bytes: number };

/**
 * Walks an ExportTraceServiceRequest once, from its first byte to its last: see `scanTraces` for what it judges.
 * Beside that it measures what is around the spans. It counts and lists nothing, so it needs the same little memory
 * for any payload.
 */
export class Scanner {
  readonly reader: WireReader;
  spanCount = 0;
  invalidSpanCount = 0;
  /** What is wrong with the first span whose ids are bad. */
  problem: string | undefined;
  /** The first message around spans whose own bytes, which are all but its spans, are more than allowed. */
  oversize: Oversize | undefined;
  /** Bytes of the ResourceSpans and ScopeSpans without a span. */
  emptyBytes = 0;
  /** There is a fault within a span, a resource or a scope, behind which the walk went on. */
  needsMending = false;
  /** There are spans under the name that their list had once. */
  hasOldSpans = false;

  readonly #maxOwnBytes: number;
  readonly #isLenient: boolean;
  readonly #mostMessages: number;
  #messages = 0;
  readonly #ids = new SpanIds();
  #resources = 0;
  #scopes = 0;
  /** Bytes, in the message at hand, of its fields that lead to spans. */
  #inner = 0;

  /**
   * @param how.mostMessages that it may step into
   * @param how.isLenient what can be told apart from the rest is for `mendTraces`, and not bad
   */
  constructor(
    payload: Uint8Array,
    maxOwnBytes: number,
    how: { readonly mostMessages?: number | undefined; readonly isLenient?: boolean } = {},
  ) {
    this.reader = new WireReader(payload);
    this.#maxOwnBytes = maxOwnBytes;
    this.#mostMessages = how.mostMessages ?? Infinity;
    this.#isLenient = how.isLenient === true;
  }

  /** False: bad bytes, see `refusal`, or more messages than it may step into. */
  request(): boolean {
    const { length } = this.reader.bytes;
    if (!this.#message(0, length, 0)) return false;
    this.#measure('the request, outside of its ResourceSpans,', length - this.#inner);
    return true;
  }

  get hasTooMany(): boolean {
    return this.#messages > this.#mostMessages;
  }

  /** What is wrong with bad bytes, and where. */
  refusal(): { ok: false; message: string } {
    const { problem, problemAt, bytes } = this.reader;
    const place = `at byte ${problemAt} of ${bytes.length}`;
    return { ok: false, message: `not an ExportTraceServiceRequest in protobuf: ${problem}, ${place}` };
  }

  /** Walks one message up to `end`. Calls itself at most MAX_DEPTH deep. */
  #message(type: number, end: number, depth: number): boolean {
    const { reader } = this;
    if (++this.#messages > this.#mostMessages) return false;
    const row = type * TABLE_WIDTH;
    while (reader.pos < end) {
      const from = reader.pos;
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
        if (!isText(reader.bytes, at, at + length) && !this.#goesOnIn(type)) {
          return reader.fail(at, `invalid UTF-8 in ${nameOfField(type, fieldNumber)}`);
        }
      } else if (kind >= MESSAGE) {
        if (depth === MAX_DEPTH) return reader.fail(at, `messages nested more than ${MAX_DEPTH} deep`);
        const inner = kind - MESSAGE;
        let passed: boolean;
        if (inner === SPAN_TYPE) passed = this.#span(from, at + length, depth + 1);
        else if (inner === SCOPE_SPANS_TYPE || inner === RESOURCE_SPANS_TYPE)
          passed = this.#envelope(inner, from, at + length, depth + 1);
        else passed = this.#message(inner, at + length, depth + 1);
        if (!passed && !this.#goesOnIn(type, inner)) return false;
      } else {
        this.#ids.note(kind, at, length);
      }
      reader.pos = at + length;
    }
    return true;
  }

  /**
   * Whether the walk goes on behind a fault in a field of this message. Where the fault is a resource's, a scope's or the
   * like, the framing behind it is not lost; where it is between these, it is.
   */
  #goesOnIn(type: number, inner?: number): boolean {
    const isBesideSpans = type === RESOURCE_SPANS_TYPE || type === SCOPE_SPANS_TYPE;
    if (!this.#isLenient || !isBesideSpans || inner === SCOPE_SPANS_TYPE || this.hasTooMany) return false;
    this.needsMending = true;
    return true;
  }

  /** A ResourceSpans or ScopeSpans whose field begins at `from`. */
  #envelope(type: number, from: number, end: number, depth: number): boolean {
    const begin = this.reader.pos;
    const innerAround = this.#inner;
    const spansBefore = this.spanCount;
    const emptyBefore = this.emptyBytes;
    this.#inner = 0;
    if (type === RESOURCE_SPANS_TYPE) this.#scopes = 0;
    if (!this.#message(type, end, depth)) return false;
    if (this.spanCount === spansBefore) {
      // What is empty within it is counted with it, once.
      this.emptyBytes = emptyBefore + end - from;
      if (this.#isLenient && type === RESOURCE_SPANS_TYPE && hasOldSpans(this.reader, begin, end))
        this.hasOldSpans = true;
    } else if (end - begin - this.#inner > this.#maxOwnBytes) {
      const scope = type === SCOPE_SPANS_TYPE ? `ScopeSpans ${this.#scopes} of ` : '';
      this.#measure(`${scope}ResourceSpans ${this.#resources} (counted from 0)`, end - begin - this.#inner);
    }
    this.#inner = innerAround + end - from;
    if (type === SCOPE_SPANS_TYPE) this.#scopes++;
    else this.#resources++;
    return true;
  }

  #measure(place: string, bytes: number): void {
    if (bytes > this.#maxOwnBytes) this.oversize ??= { place, bytes };
  }

  /** The span whose field begins at `from`. */
  #span(from: number, end: number, depth: number): boolean {
    this.#ids.reset();
    const { bytes } = this.reader;
    if (!this.#message(SPAN_TYPE, end, depth)) {
      if (!this.#isLenient || this.hasTooMany) return false;
      this.needsMending = true;
    } else if (!this.#ids.areGood(bytes)) {
      this.problem ??= `span ${this.spanCount} (counted from 0): ${this.#ids.problem(bytes)}`;
      this.invalidSpanCount++;
    }
    this.spanCount++;
    this.#inner += end - from;
    return true;
  }
}
