import type { LetterMeta } from './letter-reader.ts';
import type { Amount, Tally } from './tally.ts';

/** Of letters whose spans were delivered all the same, repaired. */
const ORIGINAL = 'original';

/**
 * What a footer tells of dead letters: how much there is by destination and, where it is its fault, by sender, and of what
 * was delivered repaired.
 */
export function countLetter(
  { destination, sender, spanCount: spans, receivedAt, repaired, isOfTrace }: LetterMeta,
  bytes: number,
  tally: Tally,
): void {
  const kind = repaired === undefined ? [] : [ORIGINAL];
  const key = JSON.stringify([destination, sender, ...kind]);
  const anySender = JSON.stringify([destination, null, ...kind]);
  tally.add(isOfTrace === true ? anySender : key, anySender, { records: 1, spans, bytes }, receivedAt);
}

type Key = readonly [destination: string, sender: string | null, kind?: typeof ORIGINAL];

/** Tallies are asked often, and each of their amounts has one key. */
const keys = new WeakMap<Amount, Key>();

/** Older footers have the destination alone, whose name is no JSON array. */
function keyOf(text: string): Key {
  return text.startsWith('[') ? (JSON.parse(text) as Key) : [text, null];
}

export type LetterAmount = {
  readonly destination: string;
  /** Undefined where letters of several are counted together. */
  readonly sender: string | undefined;
  /** Their spans were delivered repaired. */
  readonly isOriginal: boolean;
  readonly amount: Amount;
};

export function* amountsOf(tally: Tally): Iterable<LetterAmount> {
  for (const [text, amount] of tally) {
    let key = keys.get(amount);
    if (key === undefined) keys.set(amount, (key = keyOf(text)));
    const [destination, sender, kind] = key;
    yield { destination, sender: sender ?? undefined, isOriginal: kind === ORIGINAL, amount };
  }
}
