import { strict as assert } from 'node:assert';
import type { TraceRecord } from '../../../src/otlp/record.ts';
import type { DeadLetter } from '../../../src/queue/queue.ts';
import { DESTINATIONS, namesOf } from './power-loss-actions.ts';
import type { LetterSpec, RecordSpec } from './power-loss-actions.ts';

type Sent = {
  readonly record: TraceRecord;
  /** Number of the first record of the same append. */
  readonly firstOfAppend: number;
  /** What the queue said; undefined until then, and for good if a crash came first. */
  outcome: 'stored' | 'refused' | 'failed' | undefined;
  /** Destinations that were promised it: they had a place in the queue when it was stored. */
  promisedTo: ReadonlySet<string>;
  /** Spans that have left, by destination; and those of which the next start has to know it. */
  readonly left: Map<string, Set<number>>;
  readonly noted: Map<string, ReadonlySet<number>>;
};

/** What was sent, promised and settled: the plain account that the queue is held against. */
export class Account {
  readonly #sent: Sent[] = [];
  readonly #letters: { readonly letter: DeadLetter; isStored: boolean }[] = [];
  /** Destinations that have a place in the queue. */
  readonly joined = new Set<string>();
  /** By destination: records of lower numbers are delivered, and that is saved. */
  readonly savedUpTo = new Map<string, number>();

  /** Records of one append, each with its number in its route. */
  send(specs: readonly RecordSpec[]): { records: TraceRecord[]; answer: (outcome: string) => void } {
    const sender = `spiffe://test/sender-${this.#sent.length % 3}`;
    const firstOfAppend = this.#sent.length;
    const added = specs.map(({ bytes, spans, to }): Sent => {
      const id = this.#sent.length;
      const record: TraceRecord = {
        payload: contentOf(`record ${id}`, bytes),
        spanCount: spans,
        sender,
        route: { name: 'default', destinations: namesOf(to), variables: { id: `${id}` } },
        receivedAt: 1_700_000_000_000 + id,
      };
      const sent = {
        record,
        firstOfAppend,
        outcome: undefined,
        promisedTo: new Set<string>(),
        left: new Map<string, Set<number>>(),
        noted: new Map<string, ReadonlySet<number>>(),
      };
      this.#sent.push(sent);
      return sent;
    });
    const answer = (outcome: string) => {
      for (const sent of added) {
        sent.outcome = outcome === 'stored' || outcome === 'failed' ? outcome : 'refused';
        if (outcome === 'stored')
          sent.promisedTo = new Set(sent.record.route.destinations.filter((name) => this.joined.has(name)));
      }
    };
    return { records: added.map(({ record }) => record), answer };
  }

  /** How many were sent so far: numbers from here on are of later ones. */
  get count(): number {
    return this.#sent.length;
  }

  /** Checks that this was sent, to this destination, and came as it was sent. @returns its number */
  received(destination: string, received: TraceRecord): number {
    const id = Number(received.route.variables['id']);
    const sent = this.#sent[id];
    assert(sent, `a record that was never sent came to ${destination}`);
    const { payload, ...rest } = received;
    const { payload: sentPayload, ...sentRest } = sent.record;
    assert.deepEqual(rest, sentRest);
    assert(
      Buffer.compare(payload, sentPayload) === 0,
      `record ${id} came to ${destination} with other bytes`,
    );
    assert(rest.route.destinations.includes(destination), `record ${id} came to ${destination}`);
    const savedUpTo = this.savedUpTo.get(destination) ?? 0;
    assert(id >= savedUpTo, `record ${id} came to ${destination} again, which was saved up to ${savedUpTo}`);
    assert.notEqual(sent.outcome, 'refused', `record ${id} was refused and came to ${destination}`);
    return id;
  }

  /** Number of the first record of the append that this one was in. */
  firstOfAppend(id: number): number {
    return this.#sent[id]?.firstOfAppend ?? id;
  }

  /** Whether a later record of the same append goes to this destination. */
  hasMore(destination: string, id: number): boolean {
    const from = this.firstOfAppend(id);
    return this.#sent.some(
      ({ record, firstOfAppend }, other) =>
        other > id && firstOfAppend === from && record.route.destinations.includes(destination),
    );
  }

  /** A span of a record is delivered. */
  left(destination: string, id: number, spanIndex: number): void {
    const sent = this.#sent[id];
    const left = sent?.left.get(destination) ?? new Set();
    sent?.left.set(destination, left.add(spanIndex));
  }

  settled(destination: string, id: number): void {
    const spans = this.#sent[id]?.record.spanCount ?? 0;
    for (let spanIndex = 0; spanIndex < spans; spanIndex++) this.left(destination, id, spanIndex);
  }

  /** The queue was closed in order, and knew that these spans have left: they do not come again. */
  noted(destination: string, id: number, spans: ReadonlySet<number>): void {
    this.#sent[id]?.noted.set(destination, spans);
  }

  spansThatLeft(destination: string, id: number): ReadonlySet<number> {
    return new Set(this.#sent[id]?.left.get(destination));
  }

  /** Fails unless these spans of a record that came had left it, and all of which that was noted are among them. */
  checkLeft(destination: string, id: number, told: ReadonlySet<number>): void {
    const { left, noted } = this.#sent[id]!;
    const not = [...told].filter((spanIndex) => left.get(destination)?.has(spanIndex) !== true);
    assert.deepEqual(not, [], `spans of record ${id} are said to have left for ${destination}, and have not`);
    const again = [...(noted.get(destination) ?? [])].filter((spanIndex) => !told.has(spanIndex));
    assert.deepEqual(again, [], `spans of record ${id} come to ${destination} again`);
  }

  /** Numbers of those of which something has to come to this destination. */
  owedTo(destination: string): number[] {
    return this.#numbers((sent) => sent.promisedTo.has(destination) && owed(sent, destination) > 0);
  }

  /** Spans of these that have not left for this destination. */
  spansOf(destination: string, numbers: Iterable<number>): number {
    let sum = 0;
    for (const id of numbers) sum += owed(this.#sent[id]!, destination);
    return sum;
  }

  /** Fails if these bytes, which the queue calls damaged, are of a record that somebody is owed. */
  checkDamage(bytes: Buffer): void {
    const owedToSome = this.#numbers((sent) => [...sent.promisedTo].some((name) => owed(sent, name) > 0));
    for (const id of owedToSome)
      assert(!bytes.includes(`"id":"${id}"`), `record ${id} was set aside as damaged`);
  }

  sendLetters(specs: readonly LetterSpec[]): { letters: DeadLetter[]; stored: () => void } {
    const added = specs.map(({ bytes, spans }) => {
      const id = this.#letters.length;
      const letter: DeadLetter = {
        id: `letter ${id}`,
        payload: contentOf(`letter ${id}`, bytes),
        spanCount: spans,
        destination: DESTINATIONS[id % DESTINATIONS.length]!,
        target: 'experiment 1',
        sender: 'spiffe://test/sender',
        route: { name: 'default', destinations: [...DESTINATIONS], variables: {} },
        receivedAt: 1_700_000_000_000,
        refusedAt: 1_700_000_001_000,
        attempts: 1,
        status: 400,
        reason: `letter ${id}`,
        repaired: undefined,
      };
      const kept = { letter, isStored: false };
      this.#letters.push(kept);
      return kept;
    });
    const stored = () => added.forEach((kept) => (kept.isStored = true));
    return { letters: added.map(({ letter }) => letter), stored };
  }

  /** Fails unless all letters that were stored are among these, once each, in order and as they were. */
  checkLetters(found: readonly DeadLetter[]): void {
    const numbers = found.map(({ payload, reason }) => {
      const id = Number(reason.slice('letter '.length));
      const sent = this.#letters[id]?.letter;
      assert(sent && Buffer.compare(payload, sent.payload) === 0, `${reason} is not what was appended`);
      return id;
    });
    assert.deepEqual(
      numbers,
      [...new Set(numbers)].toSorted((a, b) => a - b),
      'letters twice or out of order',
    );
    for (const [id, { isStored }] of this.#letters.entries())
      assert(!isStored || numbers.includes(id), `letter ${id} was stored and is lost`);
  }

  letterSpans(): { stored: Map<string, number>; sent: Map<string, number> } {
    const stored = new Map<string, number>();
    const sent = new Map<string, number>();
    for (const { letter, isStored } of this.#letters) {
      const { destination, spanCount } = letter;
      sent.set(destination, (sent.get(destination) ?? 0) + spanCount);
      if (isStored) stored.set(destination, (stored.get(destination) ?? 0) + spanCount);
    }
    return { stored, sent };
  }

  #numbers(isWanted: (sent: Sent) => boolean): number[] {
    return this.#sent.flatMap((sent, id) => (isWanted(sent) ? [id] : []));
  }
}

/** Spans that have not left for this destination. */
function owed({ record, left }: Sent, destination: string): number {
  return record.spanCount - (left.get(destination)?.size ?? 0);
}

function contentOf(text: string, bytes: number): Buffer {
  return Buffer.alloc(bytes, `${text}, `);
}
