import { strict as assert } from 'node:assert';
import { pino } from 'pino';
import { vi } from 'vitest';
import { LogContent } from '../../../src/queue/frame.ts';
import type { DeadLetter } from '../../../src/queue/queue.ts';
import { SegmentLog } from '../../../src/queue/segment-log.ts';
import { openQueue } from '../../../src/queue/segment-queue.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { ModelDisk } from '../support/model-disk.ts';
import type { Mount } from '../support/model-disk.ts';
import { seeded } from '../support/random.ts';
import { Account } from './power-loss-account.ts';
import { DESTINATIONS, namesOf } from './power-loss-actions.ts';
import type { Action, End, Sequence, Some, Step } from './power-loss-actions.ts';
import { Reading } from './power-loss-reading.ts';

const DIRECTORY = '/var/queue';
/** Segments of 64 KiB, the smallest there are: they are begun, passed and removed all the time. */
const MAX_BYTES = 1024 * 1024;

const metrics = createMetrics();

/**
 * Runs a sequence against a queue on a model disk and fails where the queue breaks a promise.
 * @returns spans that wait by destination when all is delivered and the relay has started once more
 */
export async function run({ seed, destinations, steps }: Sequence): Promise<Record<string, number>> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  try {
    const relay = new Relay(seed);
    await relay.start(destinations);
    for (const step of steps) await relay.do(step);
    return await relay.finish();
  } finally {
    vi.useRealTimers();
  }
}

/** Everything that is under way has ended, or waits for a timer: the disk's calls are microtasks. */
function quiet(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

type OpenQueue = Awaited<ReturnType<typeof openQueue>>;

/** The processes of a relay, one after the other, as far as their queue goes. */
class Relay {
  readonly #account = new Account();
  readonly #disk: ModelDisk;
  #mount!: Mount;
  #queue!: OpenQueue;
  readonly #readings = new Map<string, Reading>();
  readonly #underWay = new Set<Promise<unknown>>();
  #failure: unknown;
  /** What is no whole record may lie between records: what waits is known for sure when readers have passed it. */
  #isInexact = false;

  constructor(seed: number) {
    this.#disk = new ModelDisk(seeded(seed));
  }

  async start(destinations: Some): Promise<void> {
    this.#mount = this.#disk.mount();
    let queue: OpenQueue | undefined;
    this.#watch(this.#open(destinations).then((opened) => (queue = opened)));
    await this.#settleDown();
    assert(queue);
    this.#queue = queue;
    for (const name of namesOf(destinations)) this.#account.joined.add(name);
    for (const name of namesOf(destinations))
      this.#readings.set(name, new Reading(name, queue.reader(name), this.#account));
    assert(queue.status().canAppend, 'the queue takes nothing after a start');
    for (const [name, { recoveredSpans, waitingSpans }] of Object.entries(queue.status().destinations)) {
      assert.equal(waitingSpans, recoveredSpans);
      const owed = this.#account.spansOf(name, this.#account.owedTo(name));
      assert(recoveredSpans >= owed, `${recoveredSpans} spans wait for ${name}, and it is owed ${owed}`);
    }
    this.#checkLetterCounts();
  }

  async do(step: Step): Promise<void> {
    switch (step.do) {
      case 'together':
        for (const action of step.actions) this.#begin(action);
        break;
      case 'close and open':
        await this.#close();
        return this.start(step.destinations);
      case 'crash':
        return this.#crash(step);
      default:
        this.#begin(step);
    }
    await this.#settleDown();
    if (step.do === 'wait') this.#saved();
  }

  /** All that is owed has come in the end, and when all is settled nothing is left. */
  async finish(): Promise<Record<string, number>> {
    await this.#close();
    this.#disk.losePower(seeded(1));
    await this.start(2 ** DESTINATIONS.length - 1);
    await this.#readAll();
    for (const [destination] of DESTINATIONS.entries()) {
      await this.do({ do: 'settle', destination, share: 1, seed: 1 });
    }
    await this.do({ do: 'wait' });
    assert.equal(this.#queue.status().segments, 1, 'segments stay though all is settled');
    await this.#close();
    this.#disk.losePower(seeded(2));
    await this.start(2 ** DESTINATIONS.length - 1);
    await this.#readAll();
    for (const [name, { received }] of this.#readings)
      assert.deepEqual(received, [], `what was settled before an orderly end came again to ${name}`);
    const { destinations } = this.#queue.status();
    await this.#close();
    await this.#readLetters();
    return Object.fromEntries(DESTINATIONS.map((name) => [name, destinations[name]!.recoveredSpans]));
  }

  async #close(): Promise<void> {
    this.#mount.failNext(0);
    this.#watch(this.#queue.close());
    await this.#settleDown();
    this.#saved();
    if (this.#mount.refusals === 0) for (const reading of this.#readings.values()) reading.noted();
    this.#readings.clear();
  }

  #saved(): void {
    if (this.#mount.refusals > 0) return; // it may have had to wait
    for (const reading of this.#readings.values()) reading.saved();
  }

  async #crash({ during, closing, end, starts, destinations }: Step & { do: 'crash' }): Promise<void> {
    this.#mount.stopAfter(end.afterCalls, end.afterwards);
    for (const action of during) {
      // The relay reads no more when it closes the queue; receivers may still be at work.
      if (!closing || action.do !== 'read') this.#begin(action);
    }
    if (closing) this.#queue.close().catch(() => {}); // on a disk that fails it may
    await quiet();
    this.#cutOff(end);
    for (const start of starts) {
      this.#mount = this.#disk.mount();
      this.#mount.stopAfter(start.afterCalls, start.afterwards);
      this.#open(destinations).catch(() => {});
      await quiet();
      this.#cutOff(start);
    }
    return this.start(destinations);
  }

  #cutOff({ by, seed }: End): void {
    if (by === 'kill') this.#disk.killProcess();
    else this.#disk.losePower(seeded(seed));
    vi.clearAllTimers();
    this.#readings.clear();
    this.#underWay.clear();
    this.#throwFailure();
  }

  #begin(action: Action): void {
    switch (action.do) {
      case 'append':
        for (const specs of action.appends) {
          const { records, answer } = this.#account.send(specs);
          this.#watch(this.#queue.append(records).then(answer));
        }
        return;
      case 'read': {
        const mount = this.#mount;
        const reading = this.#readings.get(DESTINATIONS[action.destination]!);
        if (reading !== undefined) this.#watch(reading.read(action.most, () => mount.refusals));
        return;
      }
      case 'settle':
        this.#readings.get(DESTINATIONS[action.destination]!)?.settle(action.share, seeded(action.seed));
        return;
      case 'letters': {
        const { letters, stored } = this.#account.sendLetters(action.letters);
        // They may be full, or the disk fail.
        this.#watch(this.#queue.deadLetters.append(letters).then(stored, () => {}));
        return;
      }
      case 'wait':
        vi.advanceTimersByTime(1000);
        return;
      case 'trouble':
        this.#mount.failNext(action.calls);
        this.#isInexact = true; // what a failed sync had taken for written is seen, and may go later
    }
  }

  /** Reads to the end, and holds what came and what waits against the account. */
  async #readAll(): Promise<void> {
    for (const destination of DESTINATIONS.keys()) await this.do({ do: 'read', destination, most: Infinity });
  }

  async #settleDown(): Promise<void> {
    await quiet();
    this.#throwFailure();
    assert.equal(this.#underWay.size, 0, 'something was never answered');
    for (const [name, reading] of this.#readings)
      reading.check(this.#queue.status().destinations[name]!, !this.#isInexact);
  }

  #checkLetterCounts(): void {
    const { spans } = this.#queue.deadLetters.status();
    const { stored, sent } = this.#account.letterSpans();
    for (const name of DESTINATIONS) {
      const found = spans[name] ?? 0;
      assert(found >= (stored.get(name) ?? 0), `dead letters of ${name} are lost`);
      assert(found <= (sent.get(name) ?? 0), `more dead letters of ${name} than there ever were`);
    }
  }

  async #readLetters(): Promise<void> {
    const log = await SegmentLog.open<Omit<DeadLetter, 'payload'>>({
      fs: this.#mount,
      directory: `${DIRECTORY}/dead-letters`,
      content: LogContent.deadLetters,
      maxBytes: MAX_BYTES,
      idsAbove: 0,
      count: () => {},
      observer: {
        damaged: () => {},
        unread: (segment, reason) => assert.fail(`${segment}: ${reason}`),
        failing: (reason) => assert.fail(reason),
        recovered: () => {},
      },
    });
    const cursor = log.cursor(log.start);
    const letters: DeadLetter[] = [];
    for (let frame = await cursor.next(); frame; frame = await cursor.next()) {
      for (const { meta, payload } of frame.entries) letters.push({ ...meta, payload });
    }
    await cursor.close();
    await log.close();
    this.#account.checkLetters(letters);
  }

  #open(destinations: Some): Promise<OpenQueue> {
    const mount = this.#mount;
    const log = pino(
      { level: 'error', base: null, timestamp: false },
      { write: (line) => this.#hear(line, mount) },
    );
    return openQueue(
      {
        directory: DIRECTORY,
        maxBytes: MAX_BYTES,
        maxRepeatedBytes: MAX_BYTES / 8,
        destinations: namesOf(destinations),
        fs: mount,
        lock: () => () => {},
      },
      { log, metrics },
    );
  }

  /** On a disk that works nothing is wrong but what a crash has left, and that is of nobody. */
  #hear(line: string, mount: Mount): void {
    const { keptIn, bytes, atEnd, ends } = JSON.parse(line) as Partial<{
      keptIn: string;
      bytes: number;
      atEnd: boolean;
      ends: number;
    }>;
    // What is never synced may be seen as it was for a moment: a record was in hand in each run.
    if (ends !== undefined) return;
    if (atEnd === false) this.#isInexact = true;
    const damaged = keptIn === undefined ? undefined : this.#disk.peek(keptIn);
    if (damaged !== undefined) this.#account.checkDamage(damaged);
    else if (bytes === undefined && mount.refusals === 0)
      this.#failure ??= new Error(`the queue says: ${line}`);
  }

  #watch(work: Promise<unknown>): void {
    this.#underWay.add(work);
    work.then(
      () => this.#underWay.delete(work),
      (error: unknown) => (this.#failure ??= error),
    );
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
