import { strict as assert } from 'node:assert';
import type { Lease, QueueReader, QueueStatus } from '../../../src/queue/queue.ts';
import type { Random } from '../support/random.ts';
import type { Account } from './power-loss-account.ts';

/** What one destination has read since the queue was opened, held against the account. */
export class Reading {
  readonly #name: string;
  readonly #reader: QueueReader;
  readonly #account: Account;
  /** Records of lower numbers were sent before the queue was opened. */
  readonly #firstNew: number;
  /** Spans that were given, by record. */
  readonly #received = new Map<number, number>();
  #open: { readonly id: number; readonly lease: Lease; left: Set<number>; waiting: number }[] = [];
  #lastId = -1;
  #isAtEnd = false;
  #reading: Promise<void> = Promise.resolve();

  constructor(name: string, reader: QueueReader, account: Account) {
    this.#name = name;
    this.#reader = reader;
    this.#account = account;
    this.#firstNew = account.count;
  }

  get received(): number[] {
    return [...this.#received.keys()];
  }

  /** @param refusals how often the disk has refused a call so far: an end may then be none */
  read(most: number, refusals: () => number): Promise<void> {
    return (this.#reading = this.#reading.then(() => this.#read(most, refusals)));
  }

  async #read(most: number, refusals: () => number): Promise<void> {
    for (let count = 0; count < most; count++) {
      const before = refusals();
      const lease = await this.#reader.next();
      this.#isAtEnd = lease === undefined && refusals() === before;
      if (lease === undefined) return;
      lease.inHand();
      lease.outOfHand();
      const id = this.#account.received(this.#name, lease.record);
      assert(id > this.#lastId, `record ${id} came to ${this.#name} after record ${this.#lastId}`);
      this.#lastId = id;
      const left = new Set(lease.left);
      this.#account.checkLeft(this.#name, id, left);
      const waiting = lease.record.spanCount - left.size;
      assert(waiting > 0, `record ${id} came to ${this.#name}, and nothing is left of it`);
      this.#received.set(id, waiting);
      this.#open.push({ id, lease, left, waiting });
    }
  }

  /** A share of what is open, in any order; of some records a span is done before. */
  settle(share: number, random: Random): void {
    for (let count = Math.ceil(this.#open.length * share); count > 0; count--) {
      const index = random.below(this.#open.length);
      const open = this.#open[index]!;
      if (random.chance(0.2)) {
        const spans = [...Array(open.lease.record.spanCount).keys()].filter((span) => !open.left.has(span));
        const span = spans[random.below(spans.length)]!;
        open.lease.done([span]);
        open.left.add(span);
        open.waiting--;
        this.#account.left(this.#name, open.id, span);
        if (open.waiting > 0) continue;
        this.#open.splice(index, 1);
        this.#settle(open);
      } else {
        this.#open.splice(index, 1);
        this.#settle(open);
      }
    }
    if (share === 1) for (const open of this.#open.splice(0)) this.#settle(open);
  }

  #settle({ id, lease }: { readonly id: number; readonly lease: Lease }): void {
    lease.settle();
    this.#account.settled(this.#name, id);
  }

  /** The queue was closed in order: what has left since it was opened, or had before, does not come again. */
  noted(): void {
    const open = new Map(this.#open.map(({ id, left }) => [id, left]));
    for (const id of this.#received.keys())
      this.#account.noted(this.#name, id, open.get(id) ?? this.#account.spansThatLeft(this.#name, id));
  }

  /** The queue has saved how far this destination is: nothing in front of the first append that is open comes again. */
  saved(): void {
    if (this.#lastId < 0) return;
    const open = Math.min(...this.#open.map(({ id }) => id));
    const first = Number.isFinite(open)
      ? open
      : this.#account.hasMore(this.#name, this.#lastId)
        ? this.#lastId
        : this.#lastId + 1;
    const upTo = this.#account.firstOfAppend(first);
    this.#account.savedUpTo.set(this.#name, Math.max(upTo, this.#account.savedUpTo.get(this.#name) ?? 0));
  }

  /**
   * Where the reader is at the end, fails unless it was given all that it is owed, and what waits is what was not
   * settled. What was appended since it was there may be missing.
   *
   * @param isExact the start knew what waits: no damage lay between whole records
   */
  check(status: QueueStatus['destinations'][string], isExact: boolean): void {
    if (!this.#isAtEnd) return;
    const missing = this.#account.owedTo(this.#name).filter((id) => !this.#received.has(id));
    const lost = missing.filter((id) => id < this.#firstNew || id < this.#lastId);
    assert.deepEqual(lost, [], `records that were promised did not come to ${this.#name}`);
    const unread = this.#account.spansOf(this.#name, missing);
    const waiting = this.#open.reduce((sum, open) => sum + open.waiting, unread);
    assert.equal(status.waitingSpans, waiting, `waiting spans of ${this.#name}`);
    if (!isExact) return;
    let recovered = 0;
    for (const [id, spans] of this.#received) if (id < this.#firstNew) recovered += spans;
    assert.equal(status.recoveredSpans, recovered, `recovered spans of ${this.#name}`);
  }
}
