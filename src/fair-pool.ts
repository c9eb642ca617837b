/** Who holds places, and which. Sets keep the order in which things were put in: the longest there comes first. */
type Holder<T> = { readonly name: string; readonly idle: Set<T>; readonly busy: Set<T> };

type Place<T> = { readonly holder: Holder<T>; inHand: number };

/**
 * A bounded number of places, such as connections, that several holders share. Once all are taken, a new one gets the
 * place of another. That is one which is idle, of the largest holder that has an idle one, if that holder has more than
 * an equal share and is larger than the new one's. Where there is none, it is an idle one of its own holder if that has
 * an equal share already, and else a busy one of the largest holder. Of several, it is the one that is idle, or busy,
 * for the longest time.
 *
 * So whoever has less than an equal share (all places by the number of holders, rounded down) gets in, and loses nothing
 * to others.
 *
 * A step takes a time that grows with the logarithm of the number of holders, however many places there are.
 */
export class FairPool<T> {
  readonly #maxSize: () => number;
  readonly #places = new Map<T, Place<T>>();
  readonly #holders = new Map<string, Holder<T>>();
  readonly #bySize = new Ranking<Holder<T>>();
  /** Only holders that have an idle place. */
  readonly #withIdle = new Ranking<Holder<T>>();

  /** @param maxSize asked for each new place; it may not go below the number of places that are taken */
  constructor(maxSize: () => number) {
    this.#maxSize = maxSize;
  }

  get size(): number {
    return this.#places.size;
  }

  sizeOf(name: string): number {
    const holder = this.#holders.get(name);
    return holder === undefined ? 0 : sizeOf(holder);
  }

  /**
   * Gives a place, idle at first. Returns what has lost its place by that and is no longer in the pool: another one,
   * or, where nobody has to make room for this holder, the new one itself.
   */
  add(item: T, name: string): T | undefined {
    const loser = this.#places.size < this.#maxSize() ? undefined : this.#loser(name, item);
    if (loser === item) return item;
    if (loser !== undefined) this.remove(loser);
    const holder = this.#holderOf(name);
    this.#places.set(item, { holder, inHand: 0 });
    this.#change(holder, () => holder.idle.add(item));
    return loser;
  }

  inHandOf(item: T): number {
    return this.#places.get(item)?.inHand ?? 0;
  }

  /** One more thing is in hand for it: it is busy. Returns how many there are; 0 where it has no place. */
  begin(item: T): number {
    const place = this.#places.get(item);
    if (place === undefined) return 0;
    place.inHand += 1;
    if (place.inHand === 1) {
      const { idle, busy } = place.holder;
      this.#change(place.holder, () => {
        idle.delete(item);
        busy.add(item);
      });
    }
    return place.inHand;
  }

  /** What `begin` told of is over. With nothing else in hand it is idle, from now on. */
  end(item: T): void {
    const place = this.#places.get(item);
    if (place === undefined || place.inHand === 0) return;
    place.inHand -= 1;
    if (place.inHand === 0) {
      const { idle, busy } = place.holder;
      this.#change(place.holder, () => {
        busy.delete(item);
        idle.add(item);
      });
    }
  }

  remove(item: T): void {
    const place = this.#places.get(item);
    if (place === undefined) return;
    this.#places.delete(item);
    const { holder } = place;
    this.#change(holder, () => {
      holder.idle.delete(item);
      holder.busy.delete(item);
    });
    if (sizeOf(holder) === 0) this.#holders.delete(holder.name);
  }

  #loser(name: string, item: T): T {
    const own = this.#holders.get(name);
    const ownSize = own === undefined ? 0 : sizeOf(own);
    const share = this.#places.size / (this.#holders.size + (own === undefined ? 1 : 0));
    const idlest = this.#withIdle.first;
    if (idlest !== undefined && sizeOf(idlest) > Math.max(share, ownSize)) return firstOf(idlest.idle)!;
    const ownIdle = firstOf(own?.idle);
    if (ownIdle !== undefined && ownSize + 1 > share) return ownIdle;
    const largest = this.#bySize.first;
    // One more makes it equal at most: neither of two takes from the other in turn.
    if (largest === undefined || sizeOf(largest) <= ownSize + 1) return item;
    return firstOf(largest.busy)!;
  }

  #holderOf(name: string): Holder<T> {
    let holder = this.#holders.get(name);
    if (holder === undefined) {
      holder = { name, idle: new Set(), busy: new Set() };
      this.#holders.set(name, holder);
    }
    return holder;
  }

  #change(holder: Holder<T>, change: () => void): void {
    change();
    const size = sizeOf(holder);
    this.#bySize.put(holder, size);
    this.#withIdle.put(holder, holder.idle.size > 0 ? size : 0);
  }
}

type Ranked<T> = { readonly thing: T; count: number; at: number };

/** Things by a count, to have one with the highest at once: a binary heap that knows where each is. */
class Ranking<T> {
  readonly #heap: Ranked<T>[] = [];
  readonly #ranked = new Map<T, Ranked<T>>();

  /** Undefined: every count is 0. */
  get first(): T | undefined {
    return this.#heap[0]?.thing;
  }

  put(thing: T, count: number): void {
    const ranked = this.#ranked.get(thing);
    if (ranked?.count === count) return;
    if (count === 0) {
      if (ranked !== undefined) this.#remove(ranked);
    } else if (ranked === undefined) {
      const added = { thing, count, at: this.#heap.length };
      this.#ranked.set(thing, added);
      this.#settle(added);
    } else {
      ranked.count = count;
      this.#settle(ranked);
    }
  }

  #remove(ranked: Ranked<T>): void {
    this.#ranked.delete(ranked.thing);
    const last = this.#heap.pop()!;
    if (last === ranked) return;
    last.at = ranked.at;
    this.#settle(last);
  }

  /** Moves it up or down, from where it says that it is, to where it belongs. */
  #settle(ranked: Ranked<T>): void {
    let { at } = ranked;
    for (
      let above = (at - 1) >> 1;
      at > 0 && this.#heap[above]!.count < ranked.count;
      above = (at - 1) >> 1
    ) {
      this.#place(this.#heap[above]!, at);
      at = above;
    }
    for (
      let below = this.#below(at);
      below !== undefined && below.count > ranked.count;
      below = this.#below(at)
    ) {
      const from = below.at;
      this.#place(below, at);
      at = from;
    }
    this.#place(ranked, at);
  }

  /** The higher one of the two below. */
  #below(at: number): Ranked<T> | undefined {
    const left = this.#heap[2 * at + 1];
    const right = this.#heap[2 * at + 2];
    return right !== undefined && right.count > left!.count ? right : left;
  }

  #place(ranked: Ranked<T>, at: number): void {
    this.#heap[at] = ranked;
    ranked.at = at;
  }
}

function sizeOf({ idle, busy }: Holder<unknown>): number {
  return idle.size + busy.size;
}

function firstOf<T>(items: Iterable<T> | undefined): T | undefined {
  for (const item of items ?? []) return item;
  return undefined;
}
