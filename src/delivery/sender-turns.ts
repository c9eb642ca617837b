import { LinkedList } from './linked-list.ts';

/** How far ahead of the others a sender may get before they have their turn, in bytes. */
const TURN_BYTES = 64 * 1024;

/** What a sender has that is ready. */
export type SenderLine<T> = {
  readonly sender: string;
  readonly items: LinkedList<T>;
  /** What was sent of it, in bytes, as far as it counts against that of others. */
  sent: number;
};

/**
 * Ready things by sender, first in first out for each. The sender of which the fewest bytes were sent has the next turn,
 * so that what one sender's requests cost is its own. Who had nothing ready for a while has no claim on that time, and
 * no debt that others have caught up with (start-time fair queueing, Goyal, Vin and Cheng 1996).
 */
export class SenderTurns<T> {
  readonly #lines = new Map<string, SenderLine<T>>();
  /** What was sent, at least, of whoever had its turn last. */
  #least = 0;
  /** Whose turn it is, and up to what. */
  #turn: { readonly line: SenderLine<T>; until: number } | undefined;
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  push(sender: string, item: T): void {
    let line = this.#lines.get(sender);
    if (line === undefined) {
      line = { sender, items: new LinkedList(), sent: this.#least };
      this.#lines.set(sender, line);
    }
    if (line.items.first === undefined) {
      line.sent = Math.max(line.sent, this.#least);
      if (this.#turn !== undefined) this.#turn.until = Math.min(this.#turn.until, line.sent + TURN_BYTES);
    }
    line.items.push(item);
    this.#count++;
  }

  /** Removes the first of what a sender has ready. */
  shift(line: SenderLine<T>): T | undefined {
    if (line.items.first !== undefined) this.#count--;
    return line.items.shift();
  }

  /** So many bytes are sent of this sender. */
  sent(sender: string, bytes: number): void {
    const line = this.#lines.get(sender);
    if (line !== undefined) line.sent += bytes;
  }

  /** Whose turn it is, is found out anew: others may go, or may go no more. */
  endTurn(): void {
    this.#turn = undefined;
  }

  /** What a sender has ready; undefined if there is nothing. */
  lineOf(sender: string): SenderLine<T> | undefined {
    const line = this.#lines.get(sender);
    return line?.items.first === undefined ? undefined : line;
  }

  /** Who goes next of those that may and have something ready; undefined if there is nobody. */
  next(mayGo: (sender: string) => boolean): SenderLine<T> | undefined {
    const { line, until } = this.#turn ?? {};
    if (line?.items.first !== undefined && line.sent < until! && mayGo(line.sender)) {
      this.#least = Math.max(this.#least, line.sent);
      return line;
    }
    let first: SenderLine<T> | undefined;
    let second = Infinity;
    for (const one of this.#lines.values()) {
      if (one.items.first === undefined) {
        if (one.sent <= this.#least) this.#lines.delete(one.sender);
      } else if (mayGo(one.sender)) {
        second = Math.min(second, first === undefined ? Infinity : Math.max(first.sent, one.sent));
        if (first === undefined || one.sent < first.sent) first = one;
      }
    }
    this.#turn = first && { line: first, until: second + TURN_BYTES };
    if (first !== undefined) this.#least = Math.max(this.#least, first.sent);
    return first;
  }
}
