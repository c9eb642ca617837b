/**
 * Some of the spans of a record, by their position in wire order. Written as runs: how many are left out, how many are
 * taken, how many are left out, and so on: `[2, 3]` is 2, 3 and 4.
 */
export class SpanSet implements Iterable<number> {
  /** Spans of the record. */
  readonly of: number;
  readonly #bits: Uint8Array;
  #size = 0;

  constructor(of: number, spanIndexes: Iterable<number> = []) {
    this.of = of;
    this.#bits = new Uint8Array(Math.ceil(of / 8));
    this.addAll(spanIndexes);
  }

  /** What runs name beyond the record is left out. */
  static ofRuns(of: number, runs: readonly number[]): SpanSet {
    const set = new SpanSet(of);
    let at = 0;
    for (const [index, length] of runs.entries()) {
      const end = Math.min(at + length, of);
      if (index % 2 === 1) for (let span = at; span < end; span++) set.add(span);
      at = end;
    }
    return set;
  }

  get size(): number {
    return this.#size;
  }

  get isWhole(): boolean {
    return this.#size === this.of;
  }

  has(index: number): boolean {
    return ((this.#bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  add(index: number): void {
    if (index >= this.of || this.has(index)) return;
    this.#bits[index >> 3]! |= 1 << (index & 7);
    this.#size++;
  }

  addAll(spanIndexes: Iterable<number>): void {
    for (const index of spanIndexes) this.add(index);
  }

  *[Symbol.iterator](): Iterator<number> {
    for (let at = 0; at < this.of; at++) {
      if (this.#areNext8(at, 0)) at += 7;
      else if (this.has(at)) yield at;
    }
  }

  /** Those that are not in here. */
  rest(): SpanSet {
    const rest = new SpanSet(this.of);
    for (let at = 0; at < this.of; at++) if (!this.has(at)) rest.add(at);
    return rest;
  }

  runs(): number[] {
    const runs: number[] = [];
    let from = 0;
    let isTaken = false;
    for (let at = 0; at <= this.of; at++) {
      if (this.#areNext8(at, isTaken ? 0xff : 0)) {
        at += 7;
        continue;
      }
      if (at < this.of && this.has(at) === isTaken) continue;
      if (at < this.of || isTaken) runs.push(at - from);
      from = at;
      isTaken = !isTaken;
    }
    return runs;
  }

  /** Whether a byte begins here, and is this one: one span of millions must not cost a step for each of the others. */
  #areNext8(at: number, byte: 0 | 0xff): boolean {
    return (at & 7) === 0 && this.#bits[at >> 3] === byte;
  }
}
