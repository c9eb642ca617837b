import { Walker, WAY_TO_SPANS } from './walker.ts';
import { LEN } from './wire-reader.ts';
import type { WireReader } from './wire-reader.ts';

/*
 * ResourceSpans.instrumentation_library_spans, which is wire-compatible with scope_spans (opentelemetry-proto v0.15.0,
 * trace.proto): it had number 1000 in OTLP 0.15 to 0.19, and receivers read it where scope_spans is not set. Before, it
 * had the number that scope_spans has.
 */
const OLD_SPANS_TAG = (1000 << 3) | LEN;

/**
 * Whether a ResourceSpans has lists under the old name, and no span under the one of today. Its framing must be right.
 * Needs no memory: there may be millions of either. The reader comes back to where it was.
 */
export function hasOldSpans(reader: WireReader, begin: number, end: number): boolean {
  const { pos } = reader;
  let hasOld = false;
  let hasSpan = false;
  reader.pos = begin;
  while (reader.pos < end && !hasSpan) {
    const tag = reader.tag(end);
    if (tag === OLD_SPANS_TAG) hasOld = true;
    if (tag === WAY_TO_SPANS[1]) hasSpan = hasSpanIn(reader, reader.length(end) + reader.pos);
    else reader.skip(tag, end, 0);
  }
  reader.pos = pos;
  return hasOld && !hasSpan;
}

/** Steps over a ScopeSpans, or in it to its first span. */
function hasSpanIn(reader: WireReader, end: number): boolean {
  while (reader.pos < end) {
    const tag = reader.tag(end);
    if (tag === WAY_TO_SPANS[2]) return true;
    reader.skip(tag, end, 0);
  }
  return false;
}

/** Gives such lists, in place, the name of today. The framing above them must be right; theirs is not looked at. */
export function renameOldSpans(bytes: Uint8Array): void {
  new Renamer(bytes).request();
}

class Renamer extends Walker {
  request(): void {
    const { reader } = this;
    const { length } = reader.bytes;
    while (reader.pos < length) {
      const tag = this.tag(length);
      if (tag !== WAY_TO_SPANS[0]) {
        this.skip(tag, length);
        continue;
      }
      const end = this.length(length) + reader.pos;
      if (hasOldSpans(reader, reader.pos, end)) this.#resource(end);
      reader.pos = end;
    }
  }

  #resource(end: number): void {
    const { reader } = this;
    while (reader.pos < end) {
      const from = reader.pos;
      const tag = this.tag(end);
      if (tag === OLD_SPANS_TAG) writeTag(reader.bytes, from, WAY_TO_SPANS[1]);
      this.skip(tag, end);
    }
  }
}

/** In as many bytes as the tag has that stands there, as parsers take it: what is behind it stays where it is. */
function writeTag(bytes: Uint8Array, at: number, tag: number): void {
  let pos = at;
  for (let rest = tag; bytes[pos]! >= 0x80; rest >>>= 7) bytes[pos++] = (rest & 0x7f) | 0x80;
  bytes[pos] = 0;
}
