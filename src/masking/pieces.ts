/* Where a text has a piece of one of several others. Pure. */

/** A stretch of bytes: from the first one to before the last one. */
export type Range = { readonly from: number; readonly to: number };

/** Multipliers of hashes: odd, and large, so that all bits of a byte spread. */
const BASE = 0x01000193;
const MIX = 0x9e3779b1;

/**
 * Half of a piece. Each piece has one of these that begins at a multiple of their distance, wherever the piece begins: a
 * text is looked at there, and only around halves of pieces byte by byte.
 */
const HALF = 8;
/** Bits by the hash of a half: so many that of ten tokens' halves hardly any other text has one. */
const FILTER_BITS = 20;

/** Length in bytes of what counts as a piece of a longer text. */
export const PIECE = 2 * HALF;
const DISTANCE = PIECE - HALF + 1;

/** BASE to the power of the length of a piece. */
const OUTGOING = Array.from({ length: PIECE }).reduce((power: number) => Math.imul(power, BASE), 1);

/** Finds texts that are shorter than a piece as a whole, and of all others each piece. */
export class PieceIndex {
  readonly #short: readonly Buffer[];
  readonly #long: Buffer;
  /** By the highest bits of a hash, where pieces begin, plus one, or behind that. At most a quarter is in use. */
  readonly #pieces: Uint32Array;
  readonly #bits: number;
  /** A bit by hash of a half. */
  readonly #halves = new Uint32Array(1 << (FILTER_BITS - 5));

  constructor(texts: readonly string[]) {
    const all = [...new Set(texts)].map((text) => Buffer.from(text));
    this.#short = all.filter(({ length }) => length > 0 && length < PIECE);
    const long = all.filter(({ length }) => length >= PIECE);
    this.#long = Buffer.concat(long);
    this.#bits = Math.ceil(Math.log2(4 * (this.#long.length + 1)));
    this.#pieces = new Uint32Array(2 ** this.#bits);
    let start = 0;
    for (const text of long) {
      for (let at = 0; at + HALF <= text.length; at++) this.#addHalf(halfAt(text, at));
      const end = text.length - PIECE;
      for (let at = 0, hash = 0; at <= end; at++) {
        hash = at === 0 ? pieceAt(text, 0) : nextPiece(text, at, hash);
        this.#add(hash, start + at);
      }
      start += text.length;
    }
  }

  /** Where pieces are. The ranges come in no order, and some may overlap. */
  find(text: Uint8Array): Range[] {
    const found: Range[] = [];
    const bytes = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
    for (const short of this.#short) {
      for (let from = bytes.indexOf(short); from !== -1; from = bytes.indexOf(short, from + 1))
        addTo(found, from, from + short.length);
    }
    if (this.#long.length === 0) return found;
    const last = bytes.length - PIECE;
    // Pieces that begin up to so many bytes before it have this half whole.
    for (let half = DISTANCE - 1; half + HALF <= bytes.length; half += DISTANCE) {
      if (this.#hasHalf(halfAt(bytes, half)))
        this.#findAround(bytes, half - DISTANCE + 1, Math.min(half, last), found);
    }
    return found;
  }

  /** Pieces that begin from `first` to `last`. */
  #findAround(bytes: Buffer, first: number, last: number, found: Range[]): void {
    for (let from = first, hash = 0; from <= last; from++) {
      hash = from === first ? pieceAt(bytes, from) : nextPiece(bytes, from, hash);
      if (this.#has(hash, bytes, from)) addTo(found, from, from + PIECE);
    }
  }

  #add(hash: number, start: number): void {
    const pieces = this.#pieces;
    let slot = Math.imul(hash, MIX) >>> (32 - this.#bits);
    for (let other = pieces[slot]; other !== 0; other = pieces[slot]) {
      if (this.#isAt((other ?? 0) - 1, this.#long, start)) return;
      slot = (slot + 1) % pieces.length;
    }
    pieces[slot] = start + 1;
  }

  #has(hash: number, text: Buffer, from: number): boolean {
    const pieces = this.#pieces;
    let slot = Math.imul(hash, MIX) >>> (32 - this.#bits);
    for (let other = pieces[slot]; other !== 0; other = pieces[slot]) {
      if (this.#isAt((other ?? 0) - 1, text, from)) return true;
      slot = (slot + 1) % pieces.length;
    }
    return false;
  }

  #isAt(start: number, text: Buffer, from: number): boolean {
    const long = this.#long;
    let same = 0;
    while (same < PIECE && long[start + same] === text[from + same]) same++;
    return same === PIECE;
  }

  #addHalf(hash: number): void {
    this.#halves[hash >>> 5] = (this.#halves[hash >>> 5] ?? 0) | (1 << (hash & 31));
  }

  #hasHalf(hash: number): boolean {
    return ((this.#halves[hash >>> 5] ?? 0) & (1 << (hash & 31))) !== 0;
  }
}

function halfAt(text: Buffer, at: number): number {
  const low = text[at]! | (text[at + 1]! << 8) | (text[at + 2]! << 16) | (text[at + 3]! << 24) | 0;
  const high = text[at + 4]! | (text[at + 5]! << 8) | (text[at + 6]! << 16) | (text[at + 7]! << 24) | 0;
  return Math.imul(Math.imul(low, MIX) ^ (low >>> 15) ^ high, MIX) >>> (32 - FILTER_BITS);
}

/** The hash of the piece that begins there. */
function pieceAt(text: Buffer, from: number): number {
  let hash = 0;
  for (let at = from; at < from + PIECE; at++) hash = (Math.imul(hash, BASE) + text[at]!) | 0;
  return hash;
}

/** The hash of the piece that begins there, from that of the one before. */
function nextPiece(text: Buffer, from: number, hash: number): number {
  return (Math.imul(hash, BASE) + text[from + PIECE - 1]! - Math.imul(text[from - 1]!, OUTGOING)) | 0;
}

/** Makes the last one longer where they touch. */
function addTo(found: Range[], from: number, to: number): void {
  const last = found.at(-1);
  if (last !== undefined && from >= last.from && from <= last.to) {
    if (to > last.to) found[found.length - 1] = { from: last.from, to };
  } else found.push({ from, to });
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
