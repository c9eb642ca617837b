import type { LetterMeta } from './letter-reader.ts';
import type { Amount, Tally } from './tally.ts';

/** What a footer tells of dead letters: how much there is by destination and, where it is its fault, by sender. */
export function countLetter(
  { destination, sender, spanCount: spans, receivedAt, isOfTrace }: LetterMeta,
  bytes: number,
  tally: Tally,
): void {
  const key = JSON.stringify([destination, sender]);
  const anySender = JSON.stringify([destination, null]);
  tally.add(isOfTrace === true ? anySender : key, anySender, { records: 1, spans, bytes }, receivedAt);
}

type Key = readonly [destination: string, sender: string | null];

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
  readonly amount: Amount;
};

export function* amountsOf(tally: Tally): Iterable<LetterAmount> {
  for (const [text, amount] of tally) {
    let key = keys.get(amount);
    if (key === undefined) keys.set(amount, (key = keyOf(text)));
    const [destination, sender] = key;
    yield { destination, sender: sender ?? undefined, amount };
  }
}
