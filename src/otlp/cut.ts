import { add, headerOf, SPANS, Walker, WAY_TO_SPANS } from './walker.ts';
import type { Pieces } from './walker.ts';

/**
 * A request with only the spans that `keep` picks by their position in wire order, made of slices of a payload
 * that `scanTraces` has passed. Every other field of what is around a kept span stays as it is and where it is,
 * unknown ones too; a ScopeSpans or ResourceSpans without a kept span is left out. Where nothing is left out,
 * this is the payload itself. Throws on other bytes.
 */
export function cutSpans(payload: Uint8Array, keep: (spanIndex: number) => boolean): Uint8Array {
  const cutter = new Cutter(payload, keep);
  const { pieces, length } = cutter.message(0, payload.length);
  return length === payload.length ? payload : Buffer.concat(pieces, length);
}

type Kept = Pieces & { spans: number };

class Cutter extends Walker {
  readonly #keep: (spanIndex: number) => boolean;
  #nextSpan = 0;

  constructor(payload: Uint8Array, keep: (spanIndex: number) => boolean) {
    super(payload);
    this.#keep = keep;
  }

  message(level: number, end: number): Kept {
    const { reader } = this;
    const kept: Kept = { pieces: [], length: 0, spans: 0 };
    // Fields from here on are kept and not yet in the pieces.
    let from = reader.pos;
    while (reader.pos < end) {
      const at = reader.pos;
      const tag = this.tag(end);
      if (tag !== WAY_TO_SPANS[level]) {
        this.skip(tag, end);
        continue;
      }
      const length = this.length(end);
      const childEnd = reader.pos + length;
      let child: Kept | undefined;
      if (level === SPANS) {
        reader.pos = childEnd;
        if (this.#keep(this.#nextSpan++)) {
          kept.spans++;
          continue;
        }
      } else {
        child = this.message(level + 1, childEnd);
        kept.spans += child.spans;
        // Leaving something out always makes it shorter.
        if (child.length === length && child.spans > 0) continue;
      }
      this.#addRange(kept, from, at);
      if (child !== undefined && child.spans > 0) {
        add(kept, headerOf(tag, child.length));
        for (const piece of child.pieces) add(kept, piece);
      }
      from = childEnd;
    }
    this.#addRange(kept, from, end);
    return kept;
  }

  #addRange(kept: Kept, from: number, to: number): void {
    add(kept, this.reader.bytes.subarray(from, to));
  }
}
