import { amountsOf } from './letter-tally.ts';
import type { LetterAmount } from './letter-tally.ts';
import type { Segment } from './segment.ts';
import type { Tally } from './tally.ts';

/**
 * How much there is in all segments of dead letters. It is asked with each letter, and there may be very many: what is
 * not written to any more is counted once.
 */
export class LetterTotals {
  /** The log's own list; its last one grows, and one that was rewritten has another tally. */
  readonly #segments: readonly Pick<Segment, 'tally'>[];
  /** What is in the sums. */
  #counted: ReadonlySet<Tally> = new Set();
  readonly #spans = new Map<string, number>();
  readonly #bytes = new Map<string, number>();

  constructor(segments: readonly Pick<Segment, 'tally'>[]) {
    this.#segments = segments;
  }

  spansByDestination(): Map<string, number> {
    return this.#withLast(this.#spans, addSpans);
  }

  /** Without what is counted for several senders together. */
  bytesBySender(): Map<string, number> {
    return this.#withLast(this.#bytes, addBytes);
  }

  #withLast(counted: ReadonlyMap<string, number>, add: typeof addSpans): Map<string, number> {
    this.#countWhole();
    const sums = new Map(counted);
    const last = this.#segments.at(-1);
    if (last !== undefined) for (const letters of amountsOf(last.tally)) add(sums, letters, 1);
    return sums;
  }

  #countWhole(): void {
    const whole = new Set(this.#segments.slice(0, -1).map(({ tally }) => tally));
    for (const tally of this.#counted) if (!whole.has(tally)) this.#count(tally, -1);
    for (const tally of whole) if (!this.#counted.has(tally)) this.#count(tally, 1);
    this.#counted = whole;
  }

  #count(tally: Tally, sign: 1 | -1): void {
    for (const letters of amountsOf(tally)) {
      addSpans(this.#spans, letters, sign);
      addBytes(this.#bytes, letters, sign);
    }
  }
}

function addSpans(sums: Map<string, number>, { destination, amount }: LetterAmount, sign: 1 | -1): void {
  change(sums, destination, sign * amount.spans);
}

function addBytes(sums: Map<string, number>, { sender, amount }: LetterAmount, sign: 1 | -1): void {
  if (sender !== undefined) change(sums, sender, sign * amount.bytes);
}

function change(sums: Map<string, number>, key: string, by: number): void {
  const sum = (sums.get(key) ?? 0) + by;
  if (sum === 0) sums.delete(key);
  else sums.set(key, sum);
}
