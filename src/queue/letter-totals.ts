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
  /** One sum. */
  readonly #originals = new Map<'', number>();

  constructor(segments: readonly Pick<Segment, 'tally'>[]) {
    this.#segments = segments;
  }

  spansByDestination(): Map<string, number> {
    return this.#withLast(this.#spans, addSpans);
  }

  /** Without originals of what was delivered repaired, and without what is counted for several senders together. */
  bytesBySender(): Map<string, number> {
    return this.#withLast(this.#bytes, addBytes);
  }

  /** Of originals of what was delivered repaired. */
  originalBytes(): number {
    return this.#withLast(this.#originals, addOriginals).get('') ?? 0;
  }

  #withLast<K extends string>(counted: ReadonlyMap<K, number>, add: Add<K>): Map<K, number> {
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
      addOriginals(this.#originals, letters, sign);
    }
  }
}

type Add<K extends string> = (sums: Map<K, number>, letters: LetterAmount, sign: 1 | -1) => void;

function addSpans(sums: Map<string, number>, { destination, amount }: LetterAmount, sign: 1 | -1): void {
  change(sums, destination, sign * amount.spans);
}

function addBytes(
  sums: Map<string, number>,
  { sender, isOriginal, amount }: LetterAmount,
  sign: 1 | -1,
): void {
  if (sender !== undefined && !isOriginal) change(sums, sender, sign * amount.bytes);
}

function addOriginals(sums: Map<'', number>, { isOriginal, amount }: LetterAmount, sign: 1 | -1): void {
  if (isOriginal) change(sums, '', sign * amount.bytes);
}

function change<K extends string>(sums: Map<K, number>, key: K, by: number): void {
  const sum = (sums.get(key) ?? 0) + by;
  if (sum === 0) sums.delete(key);
  else sums.set(key, sum);
}
