import type { Lease } from '../queue/queue.ts';
import { LinkedList } from './linked-list.ts';

/** Each takes some 300 bytes of memory: 30 MB in all. */
const MOST_RECORDS = 100_000;

/** A record without its bytes. */
export type Shelved = Pick<Lease, 'again'> & { readonly sender: string; readonly bytes: number };

type Row = { readonly records: LinkedList<Shelved>; count: number; bytes: number };

/**
 * Records of senders that have their part of the window. Their bytes are let go of, and read again when there is room.
 * First in, first out for each sender; senders take turns.
 */
export class Shelf {
  /** The first has the next turn. */
  readonly #rows = new Map<string, Row>();
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get isFull(): boolean {
    return this.#count >= MOST_RECORDS;
  }

  countOf(sender: string): number {
    return this.#rows.get(sender)?.count ?? 0;
  }

  bytesOf(sender: string): number {
    return this.#rows.get(sender)?.bytes ?? 0;
  }

  add({ sender, bytes, again }: Shelved): void {
    let row = this.#rows.get(sender);
    if (row === undefined) this.#rows.set(sender, (row = { records: new LinkedList(), count: 0, bytes: 0 }));
    row.records.push({ sender, bytes, again });
    row.count++;
    row.bytes += bytes;
    this.#count++;
  }

  /** Who has something here and may go on; undefined if there is nobody. */
  next(mayGo: (sender: string) => boolean): string | undefined {
    for (const sender of this.#rows.keys()) if (mayGo(sender)) return sender;
    return undefined;
  }

  /** Takes the first record of a sender, whose next turn comes after those of the others. */
  take(sender: string): Shelved | undefined {
    const row = this.#rows.get(sender);
    const record = row?.records.shift();
    if (row === undefined || record === undefined) return undefined;
    this.#count--;
    row.count--;
    row.bytes -= record.bytes;
    this.#rows.delete(sender);
    if (row.count > 0) this.#rows.set(sender, row);
    return record;
  }
}
