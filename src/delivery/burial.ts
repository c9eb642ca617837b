import PQueue from 'p-queue';
import { messageOf } from '../errors.ts';
import type { DeadLetter, DeadLetters, Lease } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Batch } from './batch.ts';
import { Notice } from '../telemetry/notice.ts';
import { cutTo } from './divide.ts';
import { backoff } from './pacing.ts';
import { pause } from './pause.ts';
import type { UpstreamState } from './upstream.ts';

/** Why, when, and for whom. */
type Refused = Pick<DeadLetter, 'destination' | 'reason' | 'status' | 'attempts' | 'refusedAt'>;

/** Writes dead letters, one append after the other, and does not give up while the relay runs. */
export class Burial {
  readonly #deadLetters: DeadLetters;
  readonly #log: Logger;
  readonly #stopping: AbortSignal;
  readonly #appends = new PQueue({ concurrency: 1 });
  readonly #buried = new Notice();
  readonly #failed = new Notice();
  #trouble: UpstreamState | undefined;

  constructor(deps: { deadLetters: DeadLetters; log: Logger; stopping: AbortSignal }) {
    this.#deadLetters = deps.deadLetters;
    this.#log = deps.log;
    this.#stopping = deps.stopping;
  }

  /** Why refused spans, and in the end all behind them, have to wait; undefined while letters can be written. */
  get trouble(): UpstreamState | undefined {
    return this.#trouble;
  }

  /** True once the letters are on stable storage; false if the relay stopped before that. */
  bury(letters: readonly DeadLetter[]): Promise<boolean> {
    return this.#appends.add(() => this.#append(letters));
  }

  /** Resolves when no append is under way. */
  async onIdle(): Promise<void> {
    await this.#appends.onIdle();
  }

  async #append(letters: readonly DeadLetter[]): Promise<boolean> {
    for (let failures = 1; ; failures++) {
      try {
        await this.#deadLetters.append(letters);
        this.#trouble = undefined;
        this.#tell(letters);
        return true;
      } catch (error) {
        const reason = `dead letters cannot be written: ${messageOf(error)}`;
        this.#trouble = { state: 'blocked', reason, since: this.#trouble?.since ?? Date.now() };
        const times = this.#failed.due(performance.now());
        if (times !== undefined) {
          this.#log.error(
            { reason: messageOf(error), times },
            'dead letters could not be written; the spans stay in the queue: see to the disk of the queue directory',
          );
        }
        if (this.#stopping.aborted) return false;
        await pause(backoff(failures, 'retrying', Math.random), this.#stopping);
        if (this.#stopping.aborted) return false;
      }
    }
  }

  #tell(letters: readonly DeadLetter[]): void {
    const [letter] = letters;
    const spans = this.#buried.due(
      performance.now(),
      letters.reduce((sum, { spanCount }) => sum + spanCount, 0),
    );
    if (letter === undefined || spans === undefined) return;
    const { reason, target, sender, repaired } = letter;
    this.#log.warn(
      { spans, reason, target, sender, ...(repaired !== undefined && { repaired }) },
      'the upstream refused spans for good; they are kept as dead letters, as they came: see the command dead-letters (spans counts since this was last said; repaired: what was changed in the one that was delivered instead)',
    );
  }
}

/** A letter for each part of what was refused, as it came: who sent it, by which route, and when, is kept. */
export function lettersOf({ target, parts }: Batch<Lease>, about: Refused): DeadLetter[] {
  return parts.map(({ held, payload, mended, spanCount }) =>
    letterOf(held.handle, { ...about, target: target.description }, mended?.original ?? payload, spanCount),
  );
}

/** A letter for each span that was delivered otherwise than it came. */
export function originalsOf({ target, parts }: Batch<Lease>, about: Refused): DeadLetter[] {
  return parts.flatMap(({ held, mended }) =>
    [...(mended?.spans ?? [])].map(([spanIndex, repaired]) => {
      const original = cutTo(mended?.original ?? held.payload, [spanIndex]);
      return letterOf(held.handle, { ...about, target: target.description }, original, 1, repaired);
    }),
  );
}

function letterOf(
  { record }: Lease,
  about: Refused & { readonly target: string },
  payload: Uint8Array,
  spanCount: number,
  repaired?: string,
): DeadLetter {
  const { sender, route, receivedAt } = record;
  return { ...about, sender, route, receivedAt, payload, spanCount, repaired };
}
