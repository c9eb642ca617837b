import type { Logger } from '../telemetry/logger.ts';
import { Notices } from '../telemetry/notice.ts';
import type { DeadLetterStore } from './dead-letters.ts';
import type { RecordMeta } from './loan.ts';
import { FairShare } from './fair-share.ts';
import type { AppendOutcome } from './queue.ts';
import type { Readers } from './readers.ts';
import type { SegmentLog } from './segment-log.ts';

/** What dead letters may always take beside the queue, as a part of its size; beyond that, what it leaves. */
export const LETTERS_SHARE = 1 / 4;

type AdmissionOptions = {
  readonly maxBytes: number;
  readonly log: SegmentLog<RecordMeta>;
  readonly deadLetters: Pick<DeadLetterStore, 'bytes' | 'heldSenders'>;
  readonly readers: Pick<Readers, 'hold'>;
  readonly logger: Logger;
};

/** Who may put what into the queue, as far as its limits go. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #fairShare: FairShare;
  readonly #held = new Notices();

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#fairShare = new FairShare(options.maxBytes, options.log.segments);
  }

  /** Why nothing is taken from a sender, whatever there is room for; it is told of once a minute. */
  heldFor(sender: string): 'sender_held' | 'sender_searched' | undefined {
    const { deadLetters, readers } = this.#options;
    if (deadLetters.heldSenders.includes(sender)) {
      this.#tell(
        sender,
        'this sender has more dead letters than its quota (a quarter of what they may take): nothing new is taken from it until some are replayed or discarded by the command dead-letters',
      );
      return 'sender_held';
    }
    if (!readers.hold(sender)) return undefined;
    this.#tell(
      sender,
      'a destination refuses spans of this sender, and more of it waits to be looked through than is kept for that: nothing new is taken from it until less waits; see the command dead-letters for what is refused, and mend what it sends',
    );
    return 'sender_searched';
  }

  #tell(sender: string, words: string): void {
    const times = this.#held.due(sender, performance.now());
    if (times !== undefined) this.#options.logger.error({ sender, times }, words);
  }

  /**
   * A replay may have the room that dead letters take beyond their own part: what it puts in they give back.
   * @returns why so much of this sender is not taken now; the exact size is looked at by the log
   */
  refusal(sender: string, bytes: number, isReplay: boolean): Exclude<AppendOutcome, 'stored'> | undefined {
    const { log, maxBytes } = this.#options;
    const taken = isReplay ? log.bytes : this.#takenBytes;
    const isFull = taken + bytes > maxBytes;
    if (!this.#fairShare.allows(sender, bytes, taken)) return isFull ? 'full' : 'over_share';
    return isFull && taken > log.bytes ? 'full' : undefined;
  }

  /** Counts it for the sender until it is appended, or could not be. */
  async whileOnTheWay<T>(sender: string, bytes: number, append: () => Promise<T>): Promise<T> {
    this.#fairShare.onTheWay(sender, bytes);
    return append().finally(() => this.#fairShare.onTheWay(sender, -bytes));
  }

  get isCrowded(): boolean {
    return this.#fairShare.isCrowded(this.#takenBytes);
  }

  /** Of what the queue may have: by its records, and by dead letters beyond their own part. */
  get #takenBytes(): number {
    const { log, deadLetters, maxBytes } = this.#options;
    return log.bytes + Math.max(deadLetters.bytes - maxBytes * LETTERS_SHARE, 0);
  }
}
