import type { Unstorable } from '../destinations/destination.ts';
import type { Batch } from './batch.ts';
import type { Refusal } from './isolation.ts';
import type { Part, RepairSpans } from './part.ts';

/** How long a fault is known, in ms: after that the upstream is asked again, and one original more is kept. */
const KNOWN_MS = 60 * 60_000;
/** Each takes some 200 bytes of memory. */
const MOST_SENDERS = 1_000;
const MOST_KEPT = 10_000;

type Known = {
  readonly refusal: Refusal;
  readonly unstorable: ReadonlySet<Unstorable>;
  readonly until: number;
};

/**
 * What an upstream cannot store around spans, such as NUL in a command line in their resource. A sender has it with all
 * of its spans. So once the upstream has refused it, and taken the spans without it, what this sender sends is mended
 * before it goes, for an hour; and of spans that have lost the same, the original of one is kept in that time. The
 * others lose nothing that is not in that one. Times are ms of one clock.
 */
export class SharedFaults {
  readonly #repair: RepairSpans | undefined;
  /** By sender; those that were learned first are forgotten first. */
  readonly #known = new Map<string, Known>();
  /** Until when no more originals with the same digest are kept, by sender and digest. */
  readonly #kept = new Map<string, number>();

  /** @param repair of the destination; without it nothing is mended, and nothing learned */
  constructor(repair: RepairSpans | undefined) {
    this.#repair = repair;
  }

  /** The batch was taken as it is now, and where something around spans was mended in it, was refused before. */
  learn({ parts }: Batch<unknown>, now: number): void {
    for (const { held, shared, mender } of parts) {
      const { mending, refusal } = mender ?? {};
      const isProof = refusal?.unstorable !== undefined && mending?.aroundOnly !== true;
      if (mending === undefined || !isProof || !shared?.size) continue;
      const before = this.#knownOf(held.sender, now)?.unstorable ?? [];
      const unstorable = new Set([...before, ...mending.unstorable]);
      put(this.#known, held.sender, { refusal, unstorable, until: now + KNOWN_MS }, MOST_SENDERS);
    }
  }

  /** The batch as it is to be sent. Costs nothing while no sender has had such a fault. */
  mend<H>(batch: Batch<H>, now: number): Batch<H> {
    const repair = this.#repair;
    if (this.#known.size === 0 || repair === undefined) return batch;
    const parts = batch.parts.map((part) => {
      const known = this.#knownOf(part.held.sender, now);
      return known === undefined ? part : part.mendAround(repair, known.unstorable, known.refusal);
    });
    return { ...batch, parts };
  }

  /** Positions of mended spans in a part of which the original has to be kept; they count as kept from now on. */
  toKeep({ held, mended, shared }: Part<unknown>, now: number): number[] {
    return [...(mended?.keys() ?? [])].filter((position) => {
      const digest = shared?.get(position);
      if (digest === undefined) return true;
      const key = `${digest} ${held.sender}`;
      if ((this.#kept.get(key) ?? 0) > now) return false;
      put(this.#kept, key, now + KNOWN_MS, MOST_KEPT);
      return true;
    });
  }

  #knownOf(sender: string, now: number): Known | undefined {
    const known = this.#known.get(sender);
    if (known === undefined || known.until > now) return known;
    this.#known.delete(sender);
    return undefined;
  }
}

/** As the newest. */
function put<V>(map: Map<string, V>, key: string, value: V, most: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > most && oldest !== undefined) map.delete(oldest);
}
