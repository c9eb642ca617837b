import { FIXED64, LEN, WireReader } from './wire-reader.ts';

/** Tags of what leads to a span: request → ResourceSpans (field 1) → ScopeSpans (2) → Span (2). */
export const WAY_TO_SPANS = [(1 << 3) | LEN, (2 << 3) | LEN, (2 << 3) | LEN] as const;
export const SPANS = WAY_TO_SPANS.length - 1;

/** Tags of the ids of a span. */
export const TRACE_ID_TAG = (1 << 3) | LEN;
export const SPAN_ID_TAG = (2 << 3) | LEN;
export const PARENT_SPAN_ID_TAG = (4 << 3) | LEN;
export const END_TIME_TAG = (8 << 3) | FIXED64;

/** Steps through bytes that `scanTraces` has passed; a surprise is a bug and throws. */
export class Walker {
  readonly reader: WireReader;

  constructor(payload: Uint8Array) {
    this.reader = new WireReader(payload);
  }

  protected tag(end: number): number {
    const tag = this.reader.tag(end);
    if (tag === -1) this.#surprise();
    return tag;
  }

  protected length(end: number): number {
    const length = this.reader.length(end);
    if (length === -1) this.#surprise();
    return length;
  }

  protected skip(tag: number, end: number): void {
    if (!this.reader.skip(tag, end, 0)) this.#surprise();
  }

  #surprise(): never {
    const { problem, problemAt } = this.reader;
    throw new Error(`a payload that was not scanned: ${problem}, at byte ${problemAt}`);
  }
}

/** What may still be done, in steps of about 15 ns. At 0 or less all that follows stays as it is. */
export type Work = { left: number };

/** Slices of a payload, and bytes made anew between them; `length` bytes together. */
export type Pieces = { readonly pieces: Uint8Array[]; length: number };

export function add(to: Pieces, piece: Uint8Array): void {
  if (piece.length === 0) return;
  to.pieces.push(piece);
  to.length += piece.length;
}

/** Tag, of one byte, and length of a field. */
export function headerOf(tag: number, length: number): Uint8Array {
  const header = [tag];
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) header.push((rest & 0x7f) | 0x80);
  header.push(rest);
  return Uint8Array.from(header);
}
