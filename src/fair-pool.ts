/** Who holds places, and which. Sets keep the order in which things were put in: the longest there comes first. */
type Holder<T> = { readonly name: string; readonly idle: Set<T>; readonly busy: Set<T> };

type Place<T> = { readonly holder: Holder<T>; inHand: number };

/**
 * A bounded number of places, such as connections, that several holders share. Once all are taken, a new one gets
 * the place of another: the one that is idle for the longest time, of the holder that has most idle ones. Where
 * none is idle, the one that is busy for the longest time, of the holder that has most places. A holder never
 * takes the place of a smaller one, so that whoever has less than an equal share gets in, and keeps what it has.
 *
 * Every step takes the same time, however many places and holders there are.
 */
export class FairPool<T> {
  readonly #maxSize: () => number;
  readonly #places = new Map<T, Place<T>>();
  readonly #holders = new Map<string, Holder<T>>();
  readonly #byIdle = new Ranking<Holder<T>>();
  readonly #bySize = new Ranking<Holder<T>>();

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
   * or, where nobody has more than this holder, the new one itself.
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
    const idlest = this.#byIdle.first;
    if (idlest !== undefined) {
      const giving = ownSize > sizeOf(idlest) ? own! : idlest;
      return firstOf(giving.idle) ?? item;
    }
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
    const idle = holder.idle.size;
    const size = sizeOf(holder);
    change();
    this.#byIdle.move(holder, idle, holder.idle.size);
    this.#bySize.move(holder, size, sizeOf(holder));
  }
}

/** Things by a count that goes up or down by one, to have one with the highest at once. */
class Ranking<T> {
  /** The index is the count. */
  readonly #levels: Set<T>[] = [];
  #highest = 0;

  /** Undefined: every count is 0. */
  get first(): T | undefined {
    return firstOf(this.#levels[this.#highest]);
  }

  move(thing: T, from: number, to: number): void {
    if (from === to) return;
    this.#levels[from]?.delete(thing);
    if (to > 0) (this.#levels[to] ??= new Set()).add(thing);
    if (to > this.#highest) this.#highest = to;
    // By steps of one, the thing itself has the highest count then, unless it has none.
    else if (from === this.#highest && this.#levels[from]!.size === 0) this.#highest = to;
  }
}

function sizeOf({ idle, busy }: Holder<unknown>): number {
  return idle.size + busy.size;
}

function firstOf<T>(items: Iterable<T> | undefined): T | undefined {
  for (const item of items ?? []) return item;
  return undefined;
}
