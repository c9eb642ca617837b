import { Walker, WAY_TO_SPANS } from './walker.ts';
import { LEN } from './wire-reader.ts';

/*
 * ResourceSpans.instrumentation_library_spans, which is wire-compatible with scope_spans (opentelemetry-proto v0.15.0,
 * trace.proto): it had number 1000 in OTLP 0.15 to 0.19, and receivers read it where scope_spans is not set. Before, it
 * had the number that scope_spans has.
 */
const OLD_SPANS_TAG = (1000 << 3) | LEN;

/** Whether a ResourceSpans has spans under the old name, and none under the one of today. Its framing must be right. */
export function hasOldSpans(bytes: Uint8Array, begin: number, end: number): boolean {
  return new OldSpans(bytes).placesIn(begin, end).length > 0;
}

/** Gives such spans, in place, the name of today. The framing above the spans must be right; that of the old lists is not looked at. */
export function renameOldSpans(bytes: Uint8Array): void {
  new OldSpans(bytes).rename();
}

class OldSpans extends Walker {
  rename(): void {
    const { reader } = this;
    const { bytes } = reader;
    while (reader.pos < bytes.length) {
      const tag = this.tag(bytes.length);
      if (tag !== WAY_TO_SPANS[0]) {
        this.skip(tag, bytes.length);
        continue;
      }
      const end = this.length(bytes.length) + reader.pos;
      for (const at of this.placesIn(reader.pos, end)) writeTag(bytes, at, WAY_TO_SPANS[1]);
      reader.pos = end;
    }
  }

  /** Where the tags of the old lists stand; nowhere, if there is a span under the name of today. */
  placesIn(begin: number, end: number): number[] {
    const { reader } = this;
    const places: number[] = [];
    reader.pos = begin;
    while (reader.pos < end) {
      const from = reader.pos;
      const tag = this.tag(end);
      if (tag === OLD_SPANS_TAG) places.push(from);
      if (tag === WAY_TO_SPANS[1] && this.#hasSpan(this.length(end) + reader.pos)) return [];
      if (tag !== WAY_TO_SPANS[1]) this.skip(tag, end);
    }
    return places;
  }

  /** Of the ScopeSpans at the cursor, over which it steps. */
  #hasSpan(end: number): boolean {
    const { reader } = this;
    while (reader.pos < end) {
      const tag = this.tag(end);
      if (tag === WAY_TO_SPANS[2]) return true;
      this.skip(tag, end);
    }
    return false;
  }
}

/** In as many bytes as the tag has that stands there, as parsers take it: what is behind it stays where it is. */
function writeTag(bytes: Uint8Array, at: number, tag: number): void {
  let pos = at;
  for (let rest = tag; bytes[pos]! >= 0x80; rest >>>= 7) bytes[pos++] = (rest & 0x7f) | 0x80;
  bytes[pos] = 0;
}
