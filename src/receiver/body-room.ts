/** Above this part of the room a sender may only have its equal share of it. */
const CROWDED = 0.9;

/** Progress that lies this far back, in milliseconds, counts half. */
const HALF_LIFE = 1000;

/**
 * A body stands still where the part of it that came lately is below this: at that pace, what there is of it would have
 * taken over a minute, and no request has longer.
 */
const STANDS_STILL = 1 / 64;

/** `arriving`: more of it is to come. `waiting`: it waits for a thread. Else it is being worked on, and will be done. */
type Stage = 'arriving' | 'waiting' | 'busy';

/** What one request holds of the room; given back as a whole. */
export class Hold {
  readonly sender: string;
  readonly #room: BodyRoom;
  bytes = 0;
  stage: Stage = 'busy';
  #evict: (() => void) | undefined;
  /** Bytes that came, older ones for less. */
  #lately = 0;
  #latelyAt = 0;

  constructor(room: BodyRoom, sender: string) {
    this.#room = room;
    this.sender = sender;
  }

  /** False: there is no room for so many bytes more. */
  take(bytes: number): boolean {
    return this.#room.take(this, bytes);
  }

  /** Makes it hold so many bytes in all; false: there is no room. */
  resize(bytes: number): boolean {
    return this.take(bytes - this.bytes);
  }

  release(): void {
    this.#room.release(this);
  }

  /** From now on it may have to make room for others, and is then told so. */
  mayBeEvicted(stage: Exclude<Stage, 'busy'>, evict: () => void): void {
    this.stage = stage;
    this.#evict = evict;
    this.#latelyAt = performance.now();
  }

  mayStay(): void {
    this.stage = 'busy';
    this.#evict = undefined;
  }

  /** To be called with the bytes that came. */
  cameIn(bytes: number): void {
    const now = performance.now();
    this.#lately = this.#latelyBy(now) + bytes;
    this.#latelyAt = now;
  }

  /** The part of what it holds that came lately: about 1 for what is new, 0 for what stands still. */
  paceBy(now: number): number {
    return this.stage === 'waiting' ? Number.POSITIVE_INFINITY : this.#latelyBy(now) / this.bytes;
  }

  evict(): void {
    const evict = this.#evict;
    this.mayStay();
    this.release();
    evict?.();
  }

  #latelyBy(now: number): number {
    return this.#lately * 2 ** ((this.#latelyAt - now) / HALF_LIFE);
  }
}

/**
 * The memory for the bodies of requests in hand, so that many large requests cannot use up all there is, and so that
 * no sender can keep the others out. While most of it is taken, a sender may have its equal share: what each had if it
 * were shared by those that have something in it and one more, who may come yet. Where there is no room for that, the
 * bodies of senders above their share make it: first those that arrive, the slowest before the others, then those that
 * wait for a thread. A sender above its share gets room only in place of bodies of its own that stand still.
 */
export class BodyRoom {
  readonly #maxBytes: number;
  readonly #holds = new Map<string, Set<Hold>>();
  #taken = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  hold(sender: string): Hold {
    return new Hold(this, sender);
  }

  /** @param bytes more, or fewer */
  take(hold: Hold, bytes: number): boolean {
    if (bytes > 0 && !this.#hasRoom(hold, bytes)) return false;
    this.#taken += bytes;
    hold.bytes += bytes;
    let holds = this.#holds.get(hold.sender);
    if (holds === undefined) this.#holds.set(hold.sender, (holds = new Set()));
    holds.add(hold);
    return true;
  }

  release(hold: Hold): void {
    this.#taken -= hold.bytes;
    hold.bytes = 0;
    const holds = this.#holds.get(hold.sender);
    holds?.delete(hold);
    if (holds?.size === 0) this.#holds.delete(hold.sender);
  }

  #hasRoom(hold: Hold, bytes: number): boolean {
    if (!this.#isFull(bytes) && !this.#isCrowded()) return true;
    const { sender } = hold;
    while (this.#of(sender) + bytes > this.#share(sender)) {
      const stuck = this.#slowest((other) => other === sender, hold, STANDS_STILL);
      if (stuck === undefined) return false;
      stuck.evict();
      if (!this.#isFull(bytes) && !this.#isCrowded()) return true;
    }
    while (this.#isFull(bytes)) {
      const share = this.#share(sender);
      const slowest = this.#slowest((other) => other !== sender && this.#of(other) > share, hold);
      if (slowest === undefined) return false;
      slowest.evict();
    }
    return true;
  }

  #isFull(bytes: number): boolean {
    return this.#taken + bytes > this.#maxBytes;
  }

  #isCrowded(): boolean {
    return this.#taken > CROWDED * this.#maxBytes;
  }

  #of(sender: string): number {
    let sum = 0;
    for (const { bytes } of this.#holds.get(sender) ?? []) sum += bytes;
    return sum;
  }

  #share(sender: string): number {
    return this.#maxBytes / (this.#holds.size + (this.#holds.has(sender) ? 1 : 2));
  }

  /** The body with the least pace below `pace` that may be evicted; where several have it, the one that came last. */
  #slowest(
    isMeant: (sender: string) => boolean,
    but: Hold,
    pace: number = Number.POSITIVE_INFINITY,
  ): Hold | undefined {
    const now = performance.now();
    let slowest: Hold | undefined;
    let least = pace;
    for (const [sender, holds] of this.#holds) {
      if (!isMeant(sender)) continue;
      for (const hold of holds) {
        if (hold === but || hold.stage === 'busy') continue;
        const own = hold.paceBy(now);
        if (own < least || (own === least && pace === Number.POSITIVE_INFINITY)) {
          slowest = hold;
          least = own;
        }
      }
    }
    return slowest;
  }
}
