import { strict as assert } from 'node:assert';
import { pino } from 'pino';
import { vi } from 'vitest';
import type { DeadLetter, Lease } from '../../../src/queue/queue.ts';
import { openQueue } from '../../../src/queue/segment-queue.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { lettersIn } from '../../queue/letters.ts';
import type { StoredLetter } from '../../queue/letters.ts';
import type { AfterStop, ModelDisk, Mount } from '../support/model-disk.ts';
import { letterOf } from '../support/queue-in-memory.ts';
import type { Random } from '../support/random.ts';

export const DIRECTORY = '/var/queue';
const SENDER = 'spiffe://test/sender';
const metrics = createMetrics();

/** Where a span is. What was delivered may come again after a crash; what is gone, or in a letter, may not. */
type Span = { at: 'queue' | 'delivered' | 'gone' } | { at: 'letter'; letter: number };

type Sent = {
  readonly spans: Span[];
  /** `maybe`: what would say so was never answered. */
  isThere: 'yes' | 'maybe';
};

type Letter = {
  readonly of: string;
  readonly spans: readonly number[];
  /** `asked` and `removing` were never answered. */
  state: 'asked' | 'kept' | 'removing' | 'removed' | 'never';
  isGivenUp?: true;
};

/** Everything that is under way has ended, or waits for a timer: the disk's calls are microtasks. */
export function quiet(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function openOn(fs: Mount) {
  const options = { directory: DIRECTORY, maxBytes: 1024 * 1024, destinations: ['mlflow'] };
  return openQueue({ ...options, fs, lock: () => () => {} }, { log: pino({ level: 'silent' }), metrics });
}

/** A relay's queue with one destination, from start to start, held against a plain account of each of its spans. */
export class Life {
  readonly #disk: ModelDisk;
  readonly #sent = new Map<string, Sent>();
  readonly #letters: Letter[] = [];
  #appends = 0;
  readonly #open = new Map<string, Lease>();
  #mount!: Mount;
  #queue!: Awaited<ReturnType<typeof openOn>>;

  constructor(disk: ModelDisk) {
    this.#disk = disk;
  }

  /** The process that runs now does so many calls of the disk more. */
  stopAfter(calls: number, afterwards: AfterStop): void {
    this.#mount.stopAfter(calls, afterwards);
  }

  failNext(calls: number): void {
    this.#mount.failNext(calls);
  }

  get stopped(): boolean {
    return this.#mount.stopped;
  }

  /** A start that is cut off. */
  async startInPart(calls: number, end: 'kill' | 'power loss', random: Random): Promise<void> {
    this.#mount = this.#disk.mount();
    this.#mount.stopAfter(calls, 'hangs');
    void openOn(this.#mount).catch(() => {});
    await quiet();
    this.end(end, random);
  }

  /** Opens the queue, reads all that waits, and fails unless everything is where it has to be. */
  async start(): Promise<void> {
    this.#mount = this.#disk.mount();
    this.#queue = await openOn(this.#mount);
    this.#checkLetters(await lettersIn(DIRECTORY, this.#mount));
    const recovered = this.#queue.status().destinations['mlflow']!.recoveredSpans;
    await this.read();
    let came = 0;
    for (const [text, sent] of this.#sent) came += this.#checkSpans(text, sent);
    assert.equal(recovered, came, 'spans that the start has found');
    assert.equal(this.#queue.status().destinations['mlflow']!.waitingSpans, came, 'spans that wait');
  }

  async append(spanCount: number, bytes: number): Promise<void> {
    const text = `record ${this.#appends++}; `;
    const sent: Sent = { spans: spansOf(spanCount), isThere: 'maybe' };
    this.#sent.set(text, sent);
    const payload = Buffer.alloc(Math.max(bytes, text.length), text);
    const route = { name: 'default', destinations: ['mlflow'], variables: {} };
    const outcome = await this.#queue.append([{ payload, spanCount, sender: SENDER, route, receivedAt: 1 }]);
    if (outcome === 'stored') sent.isThere = 'yes';
  }

  async read(): Promise<void> {
    const reader = this.#queue.reader('mlflow');
    for (let lease = await reader.next(); lease; lease = await reader.next()) {
      const text = textOf(lease.record.payload);
      assert(!this.#open.has(text), `${text} came twice`);
      this.#open.set(text, lease);
    }
  }

  /** Of a record that is open, by its number among them. */
  deliver(index: number, chosen: (span: number) => boolean): void {
    const [text, lease, spans] = this.#some(index, chosen);
    if (lease === undefined || spans.length === 0) return;
    lease.done(spans);
    for (const span of spans) this.#sent.get(text)!.spans[span] = { at: 'delivered' };
    this.#settleIfDone(text, lease);
  }

  /** Makes a dead letter of spans of a record, and tries until it is stored. */
  async bury(index: number, chosen: (span: number) => boolean): Promise<void> {
    const [text, lease, spans] = this.#some(index, chosen);
    if (lease === undefined || spans.length === 0) return;
    const number = this.#letters.length;
    const kept: Letter = { of: text, spans, state: 'asked' };
    this.#letters.push(kept);
    for (const span of spans) this.#sent.get(text)!.spans[span] = { at: 'letter', letter: number };
    const letter: DeadLetter = {
      ...letterOf(''),
      payload: Buffer.from(`letter ${number}; `),
      spanCount: spans.length,
      ...lease.leave(spans),
    };
    for (let tries = 0; tries < 10 && kept.state === 'asked'; tries++) {
      await this.#queue.deadLetters.append([letter]).then(
        () => (kept.state = 'kept'),
        () => this.wait(),
      );
    }
    if (kept.state === 'asked') return;
    lease.done(spans);
    this.#settleIfDone(text, lease);
  }

  /** Letters whose numbers are chosen, as the command does it. */
  async remove(action: 'replay' | 'discard', chosen: (letter: number) => boolean): Promise<void> {
    // On a disk that fails the command sees none.
    const stored = await lettersIn(DIRECTORY, this.#mount).catch(() => []);
    // One whose replay was cut off may be in the queue too, and goes twice if it is replayed again.
    const found = stored.filter(
      ({ text }) => chosen(numberOf(text)) && (action === 'discard' || !this.#sent.has(text)),
    );
    for (const segment of new Set(found.map((letter) => letter.segment))) {
      const asked = found.filter((letter) => letter.segment === segment);
      const letters = asked.map(({ text }) => ({ text, letter: this.#letters[numberOf(text)]! }));
      for (const { text, letter } of letters) {
        letter.state = 'removing';
        if (action === 'discard') {
          letter.isGivenUp = true;
          continue;
        }
        this.#sent.set(text, { spans: spansOf(letter.spans.length), isThere: 'maybe' });
      }
      const ids = asked.map(({ meta }) => meta.id);
      const { stopped } = await this.#queue.letterDesk.carryOut({ action, segment, ids });
      if (stopped !== undefined || this.#mount.stopped) continue;
      for (const { text, letter } of letters) {
        letter.state = 'removed';
        if (action === 'replay') this.#sent.get(text)!.isThere = 'yes';
      }
    }
    await this.read();
  }

  /** A second goes by. */
  async wait(): Promise<void> {
    await vi.advanceTimersByTimeAsync(1000);
    await quiet();
  }

  /** In order: what was delivered does not come again. */
  async close(): Promise<void> {
    await this.#queue.close();
    this.#open.clear();
    if (this.#mount.refusals > 0) return;
    for (const { spans } of this.#sent.values())
      for (const [index, { at }] of spans.entries()) if (at === 'delivered') spans[index] = { at: 'gone' };
  }

  end(by: 'kill' | 'power loss', random: Random): void {
    if (by === 'kill') this.#disk.killProcess();
    else this.#disk.losePower(random);
    this.#open.clear();
    vi.clearAllTimers();
  }

  #some(index: number, chosen: (span: number) => boolean): [string, Lease | undefined, number[]] {
    const [text = '', lease] = [...this.#open][index % Math.max(this.#open.size, 1)] ?? [];
    const spans = this.#sent.get(text)?.spans ?? [];
    return [text, lease, [...spans.keys()].filter((span) => spans[span]?.at === 'queue' && chosen(span))];
  }

  #settleIfDone(text: string, lease: Lease): void {
    const isAsked = (span: Span) => span.at === 'letter' && this.#letters[span.letter]?.state === 'asked';
    if (this.#sent.get(text)!.spans.some((span) => span.at === 'queue' || isAsked(span))) return;
    lease.settle();
    this.#open.delete(text);
  }

  #checkLetters(found: readonly StoredLetter[]): void {
    const numbers = found.map(({ text }) => numberOf(text));
    assert.equal(new Set(numbers).size, numbers.length, 'a letter is there twice');
    for (const [number, letter] of this.#letters.entries()) {
      const isThere = numbers.includes(number);
      if (letter.state === 'kept') assert(isThere, `letter ${number} is lost`);
      if (letter.state === 'removed' || letter.state === 'never')
        assert(!isThere, `letter ${number} has come back`);
      if (letter.state === 'asked') letter.state = isThere ? 'kept' : 'never';
      if (letter.state === 'removing') letter.state = isThere ? 'kept' : 'removed';
    }
  }

  /** @returns how many of its spans came */
  #checkSpans(text: string, sent: Sent): number {
    const lease = this.#open.get(text);
    const came = (span: number) => lease !== undefined && lease.left?.has(span) !== true;
    if (sent.isThere === 'maybe' && lease === undefined) {
      const letter = this.#letters[numberOf(text)];
      const isOwed = text.startsWith('letter') && letter?.isGivenUp !== true;
      assert(!isOwed || letter?.state === 'kept', `${text} is neither dead nor in the queue`);
      this.#sent.delete(text);
      return 0;
    }
    sent.isThere = 'yes';
    let count = 0;
    for (const [index, span] of sent.spans.entries()) {
      const letter = span.at === 'letter' ? this.#letters[span.letter] : undefined;
      const where = `span ${index} of ${text}`;
      if (span.at === 'queue' || letter?.state === 'never') assert(came(index), `${where} is lost`);
      else if (span.at !== 'delivered') assert(!came(index), `${where} has left, and comes again`);
      if (!came(index)) continue;
      sent.spans[index] = { at: 'queue' };
      count++;
    }
    return count;
  }
}

function spansOf(count: number): Span[] {
  return Array.from({ length: count }, () => ({ at: 'queue' }));
}

function textOf(payload: Uint8Array): string {
  return `${Buffer.from(payload).toString().split('; ')[0]}; `;
}

function numberOf(text: string): number {
  return Number(text.replace('; ', '').split(' ')[1]);
}
