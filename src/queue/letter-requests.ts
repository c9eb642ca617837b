import { messageOf } from '../errors.ts';
import type { TraceRecord } from '../otlp/record.ts';
import type { DeadLetterStore } from './dead-letters.ts';
import type { LetterMeta, ReadLetter } from './letter-reader.ts';
import type { AppendOutcome } from './queue.ts';

/** What a command asks for: something to be done to letters of one segment, by their ids. */
export type LetterRequest = {
  readonly action: 'replay' | 'discard';
  readonly segment: number;
  readonly ids: readonly string[];
};

/** What was done, and what was not. */
export type LetterAnswer = {
  readonly letters: number;
  readonly spans: number;
  /** Of the letters. */
  readonly destinations: readonly string[];
  /** Letters of destinations that are not configured: they stay. */
  readonly unconfigured: number;
  /** Why the rest was not done; undefined if all was. */
  readonly stopped?: string;
};

export function nothingDone(stopped: string): LetterAnswer {
  return { letters: 0, spans: 0, destinations: [], unconfigured: 0, stopped };
}

/** Appended at a time, to share a sync. */
const GROUP_LETTERS = 64;
const GROUP_BYTES = 4 * 1024 * 1024;

const WORDS: Readonly<Record<Exclude<AppendOutcome, 'stored'>, string>> = {
  full: 'the queue is full of spans that wait (queue.max_size); try again when they are delivered',
  over_share: 'the queue is nearly full and their sender has its share of it; try again when it is delivered',
  sender_searched: 'the relay does not take it now',
  sender_held: 'their sender has too many dead letters; discard some of them',
  failed: 'the disk of the queue is full or does not take writes; make room on it, and try again',
};

export type LetterDeskOptions = {
  readonly store: DeadLetterStore;
  /** By the queue's usual admission, but for the quota of a sender and the room that letters take. */
  readonly append: (record: TraceRecord) => Promise<AppendOutcome>;
  readonly isConfigured: (destination: string) => boolean;
  readonly onDiscarded: (destination: string, spans: number) => void;
  /** Originals have made room for newer ones. */
  readonly onDropped: (destination: string, spans: number) => void;
};

/**
 * Replays and discards dead letters, one request after the other. A replayed letter is removed once the queue has it
 * on stable storage: whatever is cut off, it is in the one place or in both, and then comes twice to the destination.
 */
export class LetterDesk {
  readonly #options: LetterDeskOptions;
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: LetterDeskOptions) {
    this.#options = options;
  }

  /** Never rejects: what cannot be done is in the answer. */
  carryOut(request: LetterRequest): Promise<LetterAnswer> {
    const answer = this.#last.then(() =>
      request.action === 'replay' ? this.#replay(request) : this.#discard(request),
    );
    this.#last = answer;
    return answer;
  }

  /** Removes the oldest originals of what was delivered repaired, where there are too many. Rejects if the disk fails. */
  async dropOldOriginals(): Promise<void> {
    const { store, onDropped } = this.#options;
    if (!store.hasTooManyOriginals) return;
    const dropped = this.#last.then(() =>
      this.#isClosed
        ? undefined
        : store.dropOldOriginals(({ destination, spanCount }) => onDropped(destination, spanCount)),
    );
    this.#last = dropped.catch(() => {});
    await dropped;
  }

  /** Stops between two letters, and waits until what was replayed is removed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#last;
  }

  async #replay({ segment, ids }: LetterRequest): Promise<LetterAnswer> {
    const { store } = this.#options;
    const done = new Done();
    let stopped: string | undefined;
    const asked = new Set(ids);
    try {
      for await (const letters of store.read(segment)) {
        const wanted = letters.filter(({ meta }) => asked.has(meta.id));
        for (const group of groupsOf(wanted)) {
          stopped ??= this.#isClosed ? 'the relay is stopping' : await this.#replayGroup(group, done);
        }
        if (stopped !== undefined) break;
      }
    } catch (error) {
      stopped = `the dead letters cannot be read: ${messageOf(error)}`;
    }
    try {
      await store.remove(
        segment,
        () => false,
        () => {},
      );
    } catch (error) {
      stopped ??= `they are in the queue, but could not be removed from the dead letters: ${messageOf(error)}`;
    }
    return done.answer(stopped);
  }

  /** @returns why no more is to be tried */
  async #replayGroup(group: readonly ReadLetter[], done: Done): Promise<string | undefined> {
    const { store, append, isConfigured } = this.#options;
    const outcomes = await Promise.all(
      group.map(async ({ meta, payload }) => {
        if (!isConfigured(meta.destination)) {
          done.unconfigured++;
          return 'stored';
        }
        const outcome = store.isReplayed(meta.id) ? 'stored' : await append(recordOf(meta, payload));
        if (outcome !== 'stored') return outcome;
        store.replayed(meta);
        done.add(meta);
        return outcome;
      }),
    );
    const refused = outcomes.find((outcome) => outcome !== 'stored');
    return refused && WORDS[refused];
  }

  async #discard({ segment, ids }: LetterRequest): Promise<LetterAnswer> {
    const { store, onDiscarded } = this.#options;
    const asked = new Set(ids);
    const done = new Done();
    let stopped: string | undefined;
    try {
      if (this.#isClosed) stopped = 'the relay is stopping';
      else {
        await store.remove(
          segment,
          (id) => asked.has(id),
          (letter) => {
            done.add(letter);
            onDiscarded(letter.destination, letter.spanCount);
          },
        );
      }
    } catch (error) {
      stopped = `the dead letters cannot be changed: ${messageOf(error)}`;
    }
    return done.answer(stopped);
  }
}

/** What comes of a request, as it is carried out. */
class Done {
  readonly #destinations = new Set<string>();
  #letters = 0;
  #spans = 0;
  unconfigured = 0;

  add({ destination, spanCount }: LetterMeta): void {
    this.#destinations.add(destination);
    this.#letters++;
    this.#spans += spanCount;
  }

  answer(stopped: string | undefined): LetterAnswer {
    return {
      letters: this.#letters,
      spans: this.#spans,
      destinations: [...this.#destinations],
      unconfigured: this.unconfigured,
      ...(stopped !== undefined && { stopped }),
    };
  }
}

/**
 * As the sender's request was, for the one destination. It counts as received now: so spans of a trace that come back
 * together are grouped into it again, which a time long past would not leave them time for.
 */
function recordOf({ spanCount, sender, route, destination }: LetterMeta, payload: Uint8Array): TraceRecord {
  return {
    payload,
    spanCount,
    sender,
    route: { ...route, destinations: [destination] },
    receivedAt: Date.now(),
  };
}

function* groupsOf(letters: readonly ReadLetter[]): Iterable<ReadLetter[]> {
  let group: ReadLetter[] = [];
  let bytes = 0;
  for (const letter of letters) {
    group.push(letter);
    bytes += letter.payloadSize;
    if (group.length < GROUP_LETTERS && bytes < GROUP_BYTES) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}
