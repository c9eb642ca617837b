import { sendersOf } from './batch.ts';
import type { Batch } from './batch.ts';
import type { TraceWindow } from './trace-window.ts';
import { SenderMix } from './sender-mix.ts';

type Deps = {
  readonly window: Pick<TraceWindow<unknown>, 'setApart'>;
  /** Whether the queue has something of others than this sender. */
  readonly areInQueue: (sender: string) => boolean;
};

/** Senders of which spans are refused, or fail, while others are there: what they send goes by itself. */
export class ApartSenders {
  readonly #window: Deps['window'];
  readonly #mix: SenderMix;
  #senders: ReadonlySet<string> = new Set();
  /** A sender would be apart if others were there. */
  looksForOthers = false;

  constructor({ window, areInQueue }: Deps) {
    this.#window = window;
    this.#mix = new SenderMix(areInQueue);
  }

  get senders(): ReadonlySet<string> {
    return this.#senders;
  }

  /** Spans of this sender enter the window. */
  came(sender: string, now: number): void {
    this.#mix.came(sender, now);
  }

  /** From now on these are apart, if others are there. @returns whether that has changed */
  separate(suspects: readonly string[], now: number): boolean {
    const apart = new Set(suspects.filter((sender) => this.#mix.hasOthers(sender, now)));
    this.looksForOthers = apart.size < suspects.length;
    const before = this.#senders;
    if (apart.size === before.size && [...apart].every((sender) => before.has(sender))) return false;
    for (const sender of before) if (!apart.has(sender)) this.#window.setApart(sender, false);
    for (const sender of apart) this.#window.setApart(sender, true);
    this.#senders = apart;
    return true;
  }

  /** The sender that is apart whose alone the batch is. */
  of(batch: Batch<unknown>): string | undefined {
    if (this.#senders.size === 0) return undefined;
    const [sender, ...others] = sendersOf(batch);
    return others.length === 0 && this.#senders.has(sender ?? '') ? sender : undefined;
  }
}
