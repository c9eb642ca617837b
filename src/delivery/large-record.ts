import { splitSpans } from '../otlp/wire.ts';
import type { PayloadPart } from '../otlp/wire.ts';
import type { Lease } from '../queue/queue.ts';
import type { RecordPart } from './record-part.ts';

/** A record up to this size enters the window whole: that holds the event loop for a few milliseconds. */
const WHOLE = { maxSpans: 4096, maxBytes: 4 * 1024 * 1024 } as const;

const NO_PAYLOAD = new Uint8Array();

export function isLarge({ record }: Lease): boolean {
  return record.spanCount > WHOLE.maxSpans || record.payload.byteLength > WHOLE.maxBytes;
}

/**
 * A record that is too large to enter the window whole, in parts that are requests by themselves. It is settled with the
 * last span of its last part. Its payload is kept until its last part was made.
 */
export class LargeRecord {
  readonly bytes: number;
  readonly sender: string;
  #source: { readonly lease: Lease; readonly parts: Generator<PayloadPart | undefined> } | undefined;
  readonly #part: Lease;
  /** Parts that are not settled, and one more until all are made. */
  #open = 1;
  /** Spans in the parts that were made. */
  #made = 0;

  constructor(lease: Lease) {
    const { record, settle } = lease;
    this.bytes = record.payload.byteLength;
    this.sender = record.sender;
    this.#source = { lease, parts: splitSpans(record.payload, WHOLE) };
    this.#part = {
      ...lease,
      // The payload of the record need not wait for the spans of its parts.
      record: { ...record, payload: NO_PAYLOAD },
      settle: () => {
        if (--this.#open === 0) settle();
      },
    };
  }

  get hasNothingOnLoan(): boolean {
    return this.#open === 1;
  }

  /** The whole record, until `end`. */
  get lease(): Lease {
    if (this.#source === undefined) throw new Error('the record has ended');
    return this.#source.lease;
  }

  /**
   * The next part; undefined where others should have their turn, and `end` after the last.
   * Throws on a payload that the receiver would not have taken.
   */
  next(): RecordPart | 'end' | undefined {
    const step = this.#source?.parts.next();
    if (step === undefined || step.done === true) return 'end';
    if (step.value === undefined) return undefined;
    this.#open++;
    const first = this.#made;
    this.#made += step.value.spans.length;
    return { lease: this.#part, ...step.value, first };
  }

  /** No more parts are made of it. */
  end(): void {
    this.#source = undefined;
    this.#part.settle();
  }
}
