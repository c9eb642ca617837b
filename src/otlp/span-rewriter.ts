import { add, headerOf, SPANS, Walker, WAY_TO_SPANS } from './walker.ts';
import type { Pieces } from './walker.ts';

/** Makes a payload with some of its spans changed; all else stays as it is and where it is, unknown fields too. */
export abstract class SpanRewriter extends Walker {
  /** The content of the next span, in wire order, up to its end; undefined if it stays. */
  protected abstract span(end: number): Pieces | undefined;

  /** Whether all that follows stays. */
  protected get isDone(): boolean {
    return false;
  }

  /** Steps over a field. */
  protected pass(tag: number, end: number): void {
    this.skip(tag, end);
  }

  /** Undefined if nothing is changed. To be called once. */
  rewritten(): Uint8Array | undefined {
    const edited = this.#message(0, this.reader.bytes.length);
    return edited && Buffer.concat(edited.pieces, edited.length);
  }

  /** The content of a message above the spans. */
  #message(level: number, end: number): Pieces | undefined {
    const { reader } = this;
    const whole: Pieces = { pieces: [], length: 0 };
    // Fields from here on stay as they are and are not yet in the pieces.
    let from = reader.pos;
    const start = from;
    while (reader.pos < end && !this.isDone) {
      const at = reader.pos;
      const tag = this.tag(end);
      if (tag !== WAY_TO_SPANS[level]) {
        this.pass(tag, end);
        continue;
      }
      const childEnd = this.length(end) + reader.pos;
      const child = level === SPANS ? this.span(childEnd) : this.#message(level + 1, childEnd);
      reader.pos = childEnd;
      if (child === undefined) continue;
      add(whole, reader.bytes.subarray(from, at));
      add(whole, headerOf(tag, child.length));
      for (const piece of child.pieces) add(whole, piece);
      from = childEnd;
    }
    if (from === start) return undefined;
    add(whole, reader.bytes.subarray(from, end));
    return whole;
  }
}
