import { randomUUID } from 'node:crypto';
import PQueue from 'p-queue';
import type { ResolvedTarget } from '../destinations/destination.ts';
import { messageOf } from '../errors.ts';
import type { DeadLetter, DeadLetters, Lease, Leaving } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import { cutOf } from './part.ts';
import type { HeldRecord, Part } from './part.ts';
import { Notice } from '../telemetry/notice.ts';
import type { Guilty, Piece, Refusal } from './isolation.ts';
import { backoff } from './pacing.ts';
import { pause } from './pause.ts';
import { equalCopies } from './span-copies.ts';
import type { UpstreamState } from './upstream.ts';

/** When, and for whom. */
type About = Pick<DeadLetter, 'destination' | 'refusedAt'>;

/** Of what is said in a letter. */
const LONGEST_WORDS = 1000;

/** What goes into one frame of the log, whose header has a limit. */
const MOST_AT_ONCE = 256;

/** Records whose copies a letter names: more of them might come again after a crash. */
const MOST_COPIES = 64;

const NOT_DELIVERED =
  'the upstream does not take spans: NOT delivered, kept as dead letters; see the command dead-letters (spans: how many since this was last said; the other fields tell of one of them)';
const NOT_SENT =
  'records were set aside, NOT sent, and kept as dead letters; see the command dead-letters (spans: how many since this was last said; the other fields tell of one of them)';
const REPAIRED =
  'the upstream refused spans as they came: delivered repaired, as they came they are dead letters (spans: how many since this was last said; the other fields tell of one of them)';

/** Writes dead letters, one append after the other, and does not give up while the relay runs. */
export class Burial {
  readonly #deadLetters: DeadLetters;
  readonly #log: Logger;
  readonly #stopping: AbortSignal;
  readonly #appends = new PQueue({ concurrency: 1 });
  readonly #buried = new Notice();
  readonly #repaired = new Notice();
  readonly #unsent = new Notice();
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

  /**
   * Made when their turn comes: they are copies, and those before them may have to wait for a disk.
   * True once the letters are on stable storage; false if the relay stopped before that.
   */
  bury(make: () => readonly DeadLetter[]): Promise<boolean> {
    return this.#appends.add(async () => {
      const letters = make();
      for (let from = 0; from < letters.length; from += MOST_AT_ONCE) {
        if (!(await this.#append(letters.slice(from, from + MOST_AT_ONCE)))) return false;
      }
      return true;
    });
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

  /** What was refused, what was delivered otherwise than it came, and what was never sent, are told apart. */
  #tell(letters: readonly DeadLetter[]): void {
    const { refused = [], repaired = [], unsent = [] } = Object.groupBy(letters, kindOf);
    this.#tellOf(refused, this.#buried, 'warn', NOT_DELIVERED);
    this.#tellOf(repaired, this.#repaired, 'info', REPAIRED);
    this.#tellOf(unsent, this.#unsent, 'error', NOT_SENT);
  }

  #tellOf(
    letters: readonly DeadLetter[],
    notice: Notice,
    level: 'info' | 'warn' | 'error',
    words: string,
  ): void {
    const [letter] = letters;
    if (letter === undefined) return;
    const count = letters.reduce((sum, { spanCount }) => sum + spanCount, 0);
    const spans = notice.due(performance.now(), count);
    if (spans === undefined) return;
    const { reason, target, sender, repaired } = letter;
    this.#log[level]({ spans, reason, target, sender, ...(repaired !== undefined && { repaired }) }, words);
  }
}

function kindOf({ repaired, attempts }: DeadLetter): 'refused' | 'repaired' | 'unsent' {
  if (repaired !== undefined) return 'repaired';
  return attempts === 0 ? 'unsent' : 'refused';
}

/**
 * Letters of spans that were refused, as they came: one for those of a record that were refused alike, with who
 * sent it, by which route, and when.
 */
export function lettersOf(spans: readonly Guilty<Lease>[], about: About): DeadLetter[] {
  const alike = Map.groupBy(
    spans.flatMap(({ piece, refusal }) => piece.batch.parts.map((part) => ({ part, piece, refusal }))),
    ({ part, refusal }) => `${part.held.order} ${refusal.reason}`,
  );
  return [...alike.values()].map((group) => {
    const { part, piece, refusal } = group[0]!;
    const attempts = Math.max(...group.map((one) => one.piece.attempts));
    const spanIndexes = group.flatMap((one) => one.part.spanIndexes);
    return letterOf(
      { held: part.held, spanIndexes, target: piece.batch.target },
      { ...about, ...whyOf(refusal), attempts },
    );
  });
}

/** Spans of a part that were delivered otherwise than they came, by position in it. */
export type Originals = { readonly part: Part<Lease>; readonly positions: readonly number[] };

/** Letters of such spans as they came: one for those of a record. */
export function originalsOf(
  { batch, attempts }: Piece<Lease>,
  originals: readonly Originals[],
  about: About,
): DeadLetter[] {
  return originals.flatMap(({ part: { held, spanIndexes, mended, mender }, positions }) => {
    if (mender === undefined) return [];
    const mine = positions.map((position) => spanIndexes[position] as number);
    const words = new Set(positions.map((position) => mended?.get(position) ?? ''));
    const repaired = [...words].join('; ').slice(0, LONGEST_WORDS);
    const why = { ...about, ...whyOf(mender.refusal), attempts, repaired };
    return [letterOf({ held, spanIndexes: mine, target: batch.target }, why)];
  });
}

function whyOf({ reason, status, traces }: Refusal): Why {
  const isOfTrace = traces === undefined ? {} : { isOfTrace: true as const };
  return { reason: reason.slice(0, LONGEST_WORDS), status, ...isOfTrace };
}

type Why = Pick<DeadLetter, 'reason' | 'status' | 'isOfTrace'>;

type Kept = {
  readonly held: HeldRecord<Lease>;
  readonly spanIndexes: readonly number[];
  readonly target: ResolvedTarget;
};

function letterOf(
  { held, spanIndexes, target }: Kept,
  why: About & Why & Pick<DeadLetter, 'attempts'> & { readonly repaired?: string },
): DeadLetter {
  const { sender, route, receivedAt } = held.handle.record;
  const payload = cutOf(held, spanIndexes);
  const spanCount = spanIndexes.length;
  const id = randomUUID();
  return {
    repaired: undefined,
    ...why,
    id,
    target: target.description,
    sender,
    route,
    receivedAt,
    payload,
    spanCount,
    ...leavingOf(held, spanIndexes),
  };
}

/** The same spans in other records, which are settled with these, leave as well: they would become the same letter. */
function leavingOf(held: HeldRecord<Lease>, spanIndexes: readonly number[]): Leaving {
  const copies =
    held.others === undefined ? [] : spanIndexes.flatMap((at) => equalCopies({ held, spanIndex: at }));
  const byRecord = [...Map.groupBy(copies, (copy) => copy.held)].slice(0, MOST_COPIES);
  const all = [held.handle.leave(spanIndexes)];
  for (const [other, refs] of byRecord) all.push(other.handle.leave(refs.map(({ spanIndex }) => spanIndex)));
  return {
    origins: all.flatMap(({ origins }) => origins),
    onKept: () => all.forEach(({ onKept }) => onKept()),
  };
}
