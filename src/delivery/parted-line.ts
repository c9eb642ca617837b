import type { Lease } from '../queue/queue.ts';
import type { Batch } from './batch.ts';
import { ofPart } from './failure-evidence.ts';
import { newConsignment } from './retry-line.ts';
import type { Consignment } from './retry-line.ts';
import type { TraceSieve } from './trace-sieve.ts';

/** Parts of what was refused, or failed, that go at once, by themselves. First in, first out. */
export class PartedLine {
  readonly #line: Consignment[] = [];

  get isEmpty(): boolean {
    return this.#line.length === 0;
  }

  /** @param sieve that they are taken from */
  add(batches: readonly Batch<Lease>[], of: Consignment, sieve?: TraceSieve<Lease>): void {
    const { attempts, failuresAlone, own } = of;
    const about = { isPiece: true, sieve, attempts, failuresAlone, own: ofPart(own) };
    for (const batch of batches) this.#line.push(newConsignment(batch, about));
  }

  /** The first that `mayGo`, of those of a sieve or of the others. */
  take(isOfSieve: boolean, mayGo: (one: Consignment) => boolean): Consignment | undefined {
    const isChosen = (one: Consignment) => (one.sieve !== undefined) === isOfSieve && mayGo(one);
    const index = this.#line.findIndex(isChosen);
    return index === -1 ? undefined : this.#line.splice(index, 1)[0];
  }
}
