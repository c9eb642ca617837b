/* Where a text has a piece of one of several others. Pure. */

/** A stretch of bytes: from the first one to before the last one. */
export type Range = { readonly from: number; readonly to: number };

/** A multiplier of a rolling hash: odd, and large, so that all bits of a byte spread. */
const BASE = 0x01000193;
const FILTER_BITS = 16;

/** Finds texts that are shorter than a piece as a whole, and of all others each piece of that length. */
export class PieceIndex {
  readonly #piece: number;
  readonly #short: readonly Buffer[];
  readonly #long: Buffer;
  /** Where pieces with a hash begin; different pieces of the same hash are there each. */
  readonly #pieces = new Map<number, number[]>();
  /** Beginnings of hashes that are in the map. Most bytes of a text have nothing to do with it, which this tells sooner. */
  readonly #filter = new Uint8Array(1 << FILTER_BITS);
  /** BASE to the power of the length of a piece. */
  readonly #outgoing: number;

  constructor(texts: readonly string[], piece: number) {
    const all = [...new Set(texts)].map((text) => Buffer.from(text));
    this.#piece = piece;
    this.#short = all.filter(({ length }) => length > 0 && length < piece);
    const long = all.filter(({ length }) => length >= piece);
    this.#long = Buffer.concat(long);
    let outgoing = 1;
    for (let at = 0; at < piece; at++) outgoing = Math.imul(outgoing, BASE);
    this.#outgoing = outgoing;
    let start = 0;
    for (const text of long) {
      this.#eachPiece(text, (at, hash) => this.#add(hash, start + at));
      start += text.length;
    }
  }

  /** Where pieces are. The ranges come in no order, and some may overlap. */
  find(text: Uint8Array): Range[] {
    const found: Range[] = [];
    const bytes = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
    for (const short of this.#short) {
      for (let from = bytes.indexOf(short); from !== -1; from = bytes.indexOf(short, from + 1))
        found.push({ from, to: from + short.length });
    }
    if (this.#pieces.size === 0) return found;
    let last: { from: number; to: number } | undefined;
    this.#eachPiece(bytes, (from, hash) => {
      if (this.#filter[hash >>> (32 - FILTER_BITS)] === 0 || !this.#has(hash, bytes, from)) return;
      const to = from + this.#piece;
      if (last !== undefined && from <= last.to) last.to = to;
      else found.push((last = { from, to }));
    });
    return found;
  }

  #add(hash: number, start: number): void {
    const starts = this.#pieces.get(hash);
    if (starts === undefined) this.#pieces.set(hash, [start]);
    else if (!starts.some((other) => this.#isAt(other, this.#long, start))) starts.push(start);
    this.#filter[hash >>> (32 - FILTER_BITS)] = 1;
  }

  #has(hash: number, text: Buffer, from: number): boolean {
    return this.#pieces.get(hash)?.some((start) => this.#isAt(start, text, from)) ?? false;
  }

  #isAt(start: number, text: Buffer, from: number): boolean {
    return text.compare(this.#long, start, start + this.#piece, from, from + this.#piece) === 0;
  }

  /** Tells of each piece of a text where it begins, and its hash. */
  #eachPiece(text: Buffer, visit: (from: number, hash: number) => void): void {
    const piece = this.#piece;
    const outgoing = this.#outgoing;
    let hash = 0;
    for (let at = 0; at < text.length; at++) {
      hash = (Math.imul(hash, BASE) + (text[at] ?? 0)) | 0;
      if (at >= piece) hash = (hash - Math.imul(text[at - piece] ?? 0, outgoing)) | 0;
      if (at >= piece - 1) visit(at - piece + 1, hash);
    }
  }
}

/** The same stretches in order, none of which touches another. */
export function joined(ranges: readonly Range[]): Range[] {
  const result: { from: number; to: number }[] = [];
  for (const { from, to } of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
    else result.push({ from, to });
  }
  return result;
}
