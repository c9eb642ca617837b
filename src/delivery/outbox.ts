import type { ResolvedTarget } from '../destinations/destination.ts';
import type { Lease, QueueReader } from '../queue/queue.ts';
import { sendersOf } from './batch.ts';
import type { Batch } from './batch.ts';
import type { BatchSizing } from './batch-sizing.ts';
import { halve } from './divide.ts';
import { ofPart } from './failure-evidence.ts';
import { Halving } from './halving.ts';
import type { Intake } from './intake.ts';
import type { Isolation, Seen, Verdict } from './isolation.ts';
import { Isolations } from './isolations.ts';
import { PartedLine } from './parted-line.ts';
import { newConsignment, RetryLine } from './retry-line.ts';
import type { Again, Consignment, PauseOf } from './retry-line.ts';
import { SenderMix } from './sender-mix.ts';
import type { SharedFaults } from './shared-faults.ts';
import type { TraceSieve } from './trace-sieve.ts';
import type { TraceWindow } from './trace-window.ts';
import { UnderWay } from './under-way.ts';

/** What the next request is for. */
export type Work =
  | { readonly kind: 'batch'; readonly consignment: Consignment }
  /** Whether the target takes anything at all. */
  | { readonly kind: 'probe'; readonly target: ResolvedTarget };

type Deps = {
  readonly window: TraceWindow<Lease>;
  readonly sizing: Pick<BatchSizing, 'limits'>;
  readonly reader: Pick<QueueReader, 'hasOthers'>;
  readonly intake: Pick<Intake, 'isAtTail' | 'isStuck'>;
  readonly sharedFaults: Pick<SharedFaults, 'mend'>;
  /** Whether others must not wait for a batch. */
  readonly isSlow: (batch: Batch<Lease>) => boolean;
  /** Most requests to the upstream at once. */
  readonly mostAtOnce: () => number;
  /** Values in [0, 1), for jitter. */
  readonly random: () => number;
};

/**
 * All that is to be sent: what is new in the window, what failed and goes again, and pieces of what was refused.
 * Good batches go first; of these what is new and what failed take turns, so that neither keeps the other from going,
 * or from being the trial. Where there are several senders, one of which batches are refused is apart: what it sends
 * goes in batches of its own, with the pieces of those. Spans of one trace are in one request at a time.
 */
export class Outbox {
  readonly #deps: Deps;
  readonly #retries: RetryLine;
  readonly #isolations = new Isolations<Lease, Consignment>();
  readonly #mix: SenderMix;
  /** Senders of which spans are refused, while others are there. */
  #apart: ReadonlySet<string> = new Set();
  /** A sender would be apart if others were there. */
  looksForOthers = false;
  readonly #parted = new PartedLine();
  readonly #underWay: UnderWay;
  /** What fails while others are stored. */
  readonly #suspects: RetryLine;
  /** Of these, those that are not known to be taken, also while they are under way. */
  readonly #failing = new Set<Consignment>();
  /** Requests for refused batches that are under way, each with the sender whose search it is. */
  readonly #extra = new Map<Work, string>();
  #isTurnOfRetries = true;
  #isTurnOfSieves = true;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#retries = new RetryLine(deps.random);
    this.#suspects = new RetryLine(deps.random);
    this.#underWay = new UnderWay(deps.window);
    this.#mix = new SenderMix((sender) => deps.reader.hasOthers(sender));
  }

  /** More than goes. */
  get hasMore(): boolean {
    return !this.#retries.isEmpty || !this.#parted.isEmpty || this.#deps.window.hasFullBatch;
  }

  /** Refused batches of which the bad spans are looked for, by sender. */
  get isolating(): ReadonlyMap<string, number> {
    return this.#isolations.counts;
  }

  /** Batches that fail again and again while others are stored, and halves of such. */
  get failing(): ReadonlySet<Consignment> {
    return this.#failing;
  }

  /**
   * What goes next; to be handed back by `ended`. Undefined if nothing may go.
   * @param isIdle nothing is under way that might settle the oldest records yet
   */
  next(now: number, isIdle: boolean, seen: Seen): Work | undefined {
    const isPieceFirst = this.#isolations.isTurn;
    const work = (isPieceFirst ? this.#piece(now, isIdle, seen) : undefined) ?? this.#good(now, isIdle);
    return work ?? (isPieceFirst ? undefined : this.#piece(now, isIdle, seen));
  }

  /** What fails by itself, to go beside the others; to be handed back by `ended`. */
  nextBeside(now: number): Work | undefined {
    const consignment = this.#suspects.takeDue(now, (one) => this.#underWay.mayGo(one));
    return consignment && this.#begin(consignment);
  }

  /** When there is such, by waiting alone. */
  besideAt(): number | undefined {
    return this.#suspects.nextDueAt((one) => this.#underWay.mayGo(one));
  }

  ended(work: Work): void {
    const sender = this.#extra.get(work);
    if (sender !== undefined) this.#isolations.ended(sender);
    this.#extra.delete(work);
    if (work.kind !== 'batch') return;
    this.#failing.delete(work.consignment);
    this.#underWay.end(work.consignment);
  }

  /** When something may go that cannot now, by waiting alone, in ms of the clock of `now`. */
  nextAt(now: number): number | undefined {
    const { window, intake } = this.#deps;
    const readyAt = intake.isAtTail ? window.nextReadyAt() : undefined;
    const times = [
      this.#retries.nextDueAt(this.#mayGoOf(undefined)),
      this.#isolations.mayGoAt(
        now,
        this.#mostSearches,
        (batch) => this.#underWay.isFree(batch),
        (sender) => this.#retries.nextDueAt(this.#mayGoOf(sender)),
      ),
      readyAt === undefined ? undefined : now + readyAt - Date.now(),
    ].filter((at) => at !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /**
   * Keeps it as it is: the upstream may still be at work on it. It goes again, later.
   */
  retry(consignment: Consignment, pauseOf: PauseOf, how: Again): void {
    const { batch, isolation, attempts } = consignment;
    const line = how.isAlone ? this.#suspects : this.#retries;
    const halves = how.isTooMuch ? halve(batch) : undefined;
    if (halves === undefined) {
      // Nothing has come between: the upstream may still be at work on it.
      if (batch.isReleased) this.#underWay.occupy(consignment);
      line.push([consignment], pauseOf);
      if (how.isAlone) this.#failing.add(consignment);
      return;
    }
    isolation?.divided({ batch, attempts }, halves);
    const size = { spans: batch.spanCount, bytes: consignment.bytes };
    const halving = how.isAlone ? new Halving(size) : undefined;
    const about = { isPiece: true, isolation, attempts, own: ofPart(consignment.own), halving };
    const pieces = halves.map((half) => newConsignment(half, about));
    line.push(pieces, pauseOf);
    if (how.isAlone) for (const piece of pieces) this.#failing.add(piece);
  }

  /** Looks for the bad spans of a refused batch of this sender. */
  isolate(sender: string, isolation: Isolation<Lease>): void {
    this.#isolations.add(sender, isolation);
  }

  /** Spans of this sender were refused, and not for what could be mended. */
  refused(sender: string, now: number): void {
    this.#isolations.refused(sender, now);
  }

  /** Sends parts of a refused batch by themselves. @param sieve that they are taken from: such take turns with all else */
  part(batches: readonly Batch<Lease>[], of: Consignment, sieve?: TraceSieve<Lease>): void {
    this.#parted.add(batches, of, sieve);
  }

  /** Spans of this sender enter the window. */
  came(sender: string, now: number): void {
    this.#mix.came(sender, now);
  }

  /** Senders that are apart, and of which bad spans were found. */
  get proven(): readonly string[] {
    return [...this.#apart].filter((sender) => this.#isolations.isProven(sender));
  }

  /** A span of this sender is known to be bad. */
  isGuilty(sender: string): void {
    this.#isolations.proven(sender);
  }

  searchesOf(sender: string): Iterable<Isolation<Lease>> {
    return this.#isolations.ofSender(sender);
  }

  /** Of refused batches of which all is known: what was kept back. */
  takeIsolated(): Verdict<Lease>[][] {
    return this.#isolations.takeDone().map((isolation) => isolation.end());
  }

  get apart(): ReadonlySet<string> {
    return this.#apart;
  }

  /** Finds out which senders are apart. @returns whether that has changed */
  separate(now: number): boolean {
    const { window } = this.#deps;
    const suspects = this.#isolations.suspects(now);
    const apart = new Set(suspects.filter((sender) => this.#mix.hasOthers(sender, now)));
    this.looksForOthers = apart.size < suspects.length;
    const isSame = apart.size === this.#apart.size && [...apart].every((sender) => this.#apart.has(sender));
    if (isSame) return false;
    for (const sender of this.#apart) if (!apart.has(sender)) window.setApart(sender, false);
    for (const sender of apart) window.setApart(sender, true);
    this.#apart = apart;
    return true;
  }

  #good(now: number, isIdle: boolean): Work | undefined {
    const fresh = () => this.#fresh(isIdle);
    const again = () => this.#retries.takeDue(now, this.#mayGoOf(undefined));
    const others = () => {
      this.#isTurnOfRetries = !this.#isTurnOfRetries;
      return this.#isTurnOfRetries ? (again() ?? fresh()) : (fresh() ?? again());
    };
    const partedOf = (isOfSieve: boolean) => this.#parted.take(isOfSieve, (one) => this.#underWay.mayGo(one));
    const parted = partedOf(false);
    if (parted === undefined) this.#isTurnOfSieves = !this.#isTurnOfSieves;
    const consignment =
      parted ?? (this.#isTurnOfSieves ? (partedOf(true) ?? others()) : (others() ?? partedOf(true)));
    if (consignment === undefined) return undefined;
    this.#isolations.goodBegan();
    return this.#begin(consignment);
  }

  /** @param only of this sender, which is apart; without it, of all that are not */
  #fresh(isIdle: boolean, only?: string): Consignment | undefined {
    const { window, intake, sizing, sharedFaults, isSlow } = this.#deps;
    window.limitBatches(sizing.limits);
    const at = { now: Date.now(), atTail: intake.isAtTail, isStuck: intake.isStuck && isIdle, only };
    for (;;) {
      const batch = window.take(at);
      if (batch === undefined) return undefined;
      const consignment = newConsignment(sharedFaults.mend(batch, performance.now()));
      if (!isSlow(batch)) return consignment;
      this.#suspects.add(consignment);
    }
  }

  /** One of the requests at once is for others. */
  get #mostSearches(): number {
    return Math.max(1, this.#deps.mostAtOnce() - 1);
  }

  #piece(now: number, isIdle: boolean, seen: Seen): Work | undefined {
    const otherOf = (sender: string) => this.#otherOf(sender, now, isIdle);
    const next = this.#isolations.begin(
      now,
      seen,
      this.#mostSearches,
      (batch) => this.#underWay.isFree(batch),
      otherOf,
    );
    if (next === undefined) return undefined;
    const work = this.#workOf(next);
    this.#extra.set(work, next.sender);
    return work;
  }

  /** What a sender that is apart has to send beside its searches: what failed, or a fresh batch. */
  #otherOf(sender: string, now: number, isIdle: boolean): Consignment | undefined {
    if (!this.#apart.has(sender)) return undefined;
    return this.#retries.takeDue(now, this.#mayGoOf(sender)) ?? this.#fresh(isIdle, sender);
  }

  /** Whether a batch may go now, and is of this sender, which is apart; or without one, of none that is. */
  #mayGoOf(sender: string | undefined): (one: Consignment) => boolean {
    return (one) => this.#underWay.mayGo(one) && this.#apartOf(one) === sender;
  }

  /** The sender that is apart whose alone it is. */
  #apartOf({ batch }: Consignment): string | undefined {
    if (this.#apart.size === 0) return undefined;
    const [sender, ...others] = sendersOf(batch);
    return others.length === 0 && this.#apart.has(sender ?? '') ? sender : undefined;
  }

  #workOf(next: NonNullable<ReturnType<Isolations<Lease, Consignment>['begin']>>): Work {
    if (next.isolation === undefined) return this.#begin(next.other);
    const { isolation, step } = next;
    if (step.kind === 'probe') return step;
    const { batch, attempts } = step.piece;
    return this.#begin(newConsignment(batch, { isPiece: true, isolation, attempts }));
  }

  /** A batch whose traces are free while it is searched; each of its pieces makes them busy while it is in a request. */
  release(batch: Batch<Lease>): Batch<Lease> {
    return this.#deps.window.release(batch);
  }

  #begin(consignment: Consignment): Work {
    this.#underWay.begin(consignment);
    return { kind: 'batch', consignment };
  }
}
