import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Batch } from '../../src/delivery/batch.ts';
import { halve } from '../../src/delivery/divide.ts';
import { TraceWindow } from '../../src/delivery/trace-window.ts';
import { indexSpans } from '../../src/otlp/wire.ts';
import { decode, encode } from './support.ts';

/** A copy of span `id` of trace `trace`. What is called `bad` is refused. */
export type Copy = {
  readonly trace: number;
  readonly id: number;
  readonly name: string;
  readonly hasEnd: boolean;
};

const LIMITS = { traceWaitMs: 1000, maxBatchSpans: 1000, maxBatchSize: 1e6, windowSize: 1e9 };
const START = 1_000_000;

export function windowOf(limits: Partial<typeof LIMITS> = {}) {
  const window = new TraceWindow<string>({ ...LIMITS, ...limits });
  let records = 0;
  return {
    window,
    add(copies: readonly Copy[], sender = 'agent'): string {
      const payload = encode([{ name: sender, scopes: [{ name: 'lib', spans: copies }] }]);
      const handle = `record ${++records}`;
      const target = { key: 'a', description: 'experiment a' };
      const spans = indexSpans(payload);
      window.add({ handle, sender, target, payload, spans, receivedAt: START });
      return handle;
    },
    take: (only?: string) => window.take({ now: START + 1e6, atTail: true, only }),
  };
}

/** While nothing is answered, spans come and go out; then all is answered. */
type Step =
  | { kind: 'add'; sender: string; copies: Copy[] }
  | { kind: 'take'; only: string | undefined }
  | { kind: 'apart'; sender: string; isApart: boolean }
  | { kind: 'halve' | 'release' | 'answer'; which: number };

const senders = fc.constantFrom('agent', 'gateway');
const which = fc.nat(7);
const someCopy = fc.record({
  trace: fc.constantFrom(1, 1, 2),
  id: fc.integer({ min: 1, max: 30 }).map((id) => Math.ceil(id / 3)),
  name: fc.constantFrom('one', 'two', 'bad', 'bad, too'),
  hasEnd: fc.boolean(),
});
export const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('add' as const),
    sender: senders,
    copies: fc.array(someCopy, { minLength: 1 }),
  }),
  fc.record({ kind: fc.constant('take' as const), only: fc.option(senders, { nil: undefined }) }),
  fc.record({ kind: fc.constant('apart' as const), sender: senders, isApart: fc.boolean() }),
  fc.record({ kind: fc.constantFrom('halve' as const, 'release' as const), which }),
);
export const answer: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('answer' as const), which }),
  fc.record({ kind: fc.constant('take' as const), only: fc.option(senders, { nil: undefined }) }),
);

const keyOf = (sender: string, { trace, id }: Pick<Copy, 'trace' | 'id'>) => `${sender} ${trace} ${id}`;
const isBad = ({ name }: Copy) => name.startsWith('bad');

/** What an upstream shows in the end that takes all but what is bad, and the later of two. */
function shown(arrived: readonly Copy[]): Copy | undefined {
  const good = arrived.filter((one) => !isBad(one));
  return good.findLast(({ hasEnd }) => hasEnd) ?? good.at(-1);
}

type ModelLimits = {
  readonly maxBatchSpans: number;
  /** Copies come also of what was answered, so that the same may go again. */
  readonly goesOn?: boolean;
};

/** Runs a window beside a plain account of which copies of which spans came and were answered. */
export class CopiesModel {
  readonly #limits: ModelLimits;
  readonly #of: ReturnType<typeof windowOf>;
  readonly #arrived = new Map<string, Copy[]>();
  readonly #apart = new Set<string>();
  readonly #shown = new Map<string, string>();
  readonly #records = new Set<string>();
  /** Of each span, what was sent last. */
  readonly #asked = new Map<string, string>();
  #out: Batch<string>[] = [];
  #spans = 0;

  constructor(limits: ModelLimits) {
    this.#limits = limits;
    this.#of = windowOf(limits);
  }

  run(next: Step): void {
    const { window } = this.#of;
    if (next.kind === 'add') this.#add(next.copies, next.sender);
    else if (next.kind === 'take') this.#take(next.only);
    else if (next.kind === 'apart') {
      window.setApart(next.sender, next.isApart);
      if (next.isApart) this.#apart.add(next.sender);
      else this.#apart.delete(next.sender);
    } else {
      const at = next.which % Math.max(1, this.#out.length);
      const batch = this.#out[at];
      if (batch === undefined) return;
      if (next.kind === 'answer') this.#answer(this.#out.splice(at, 1)[0]!);
      else if (next.kind === 'halve') this.#out.splice(at, 1, ...(halve(batch) ?? [batch]));
      else if (batch.isReleased !== true) this.#out[at] = window.release(batch);
    }
  }

  /** @returns what is left then, and of which spans another copy is shown than the best */
  drain(): { bytes: number; spans: number; records: number; differences: string[] } {
    while (this.#out.length > 0 || this.#take() || [...this.#apart].some((sender) => this.#take(sender)))
      if (this.#out.length > 0) this.#answer(this.#out.shift()!);
    const differences = [...this.#arrived].flatMap(([key, arrived]) => {
      const best = shown(arrived);
      return this.#shown.get(key) === (best && contentOf(best)) ? [] : [key];
    });
    return { bytes: this.#of.window.bytes, spans: this.#spans, records: this.#records.size, differences };
  }

  #add(copies: readonly Copy[], sender: string): void {
    this.#records.add(this.#of.add(copies, sender));
    this.#spans += copies.length;
    for (const one of copies) {
      const key = keyOf(sender, one);
      this.#arrived.set(key, [...(this.#arrived.get(key) ?? []), one]);
    }
  }

  #take(only?: string): boolean {
    if (only !== undefined && !this.#apart.has(only)) return false;
    const batch = this.#of.take(only);
    if (batch === undefined) return false;
    const ids = copiesIn(batch).map(({ copy: { trace, id } }) => `${trace} ${id}`);
    assert(ids.length <= this.#limits.maxBatchSpans);
    assert.equal(new Set(ids).size, ids.length, 'a span twice in a request');
    this.#out.push(batch);
    return true;
  }

  /** Taken as it is, refused for what is bad, or in halves. */
  #answer(batch: Batch<string>): void {
    const copies = copiesIn(batch);
    const bad = copies.filter((one) => isBad(one.copy));
    if (bad.length > 0 && bad.length < copies.length) {
      for (const half of halve(batch)!) this.#answer(half);
      return;
    }
    for (const { sender, copy: one } of copies) {
      const content = contentOf(one);
      const key = keyOf(sender, one);
      if (this.#limits.goesOn !== true)
        assert.notEqual(this.#asked.get(key), content, `${key} was sent twice`);
      this.#asked.set(key, content);
      if (bad.length === 0) this.#shown.set(key, content);
    }
    const end = bad.length === 0 ? 'delivered' : 'dead letter';
    const { handles, superseded } = this.#of.window.settle(batch, end);
    this.#spans -= copies.length + superseded.length;
    for (const handle of handles) assert(this.#records.delete(handle));
  }
}

function contentOf({ name, hasEnd }: Copy): string {
  return `${name} ${hasEnd}`;
}

function copiesIn({ parts }: Batch<string>): { sender: string; copy: Copy }[] {
  return parts.flatMap(({ held, payload }) =>
    decode(payload).map(({ id, trace, facts }) => {
      const { span } = JSON.parse(facts) as { span: { name: string; endTimeUnixNano?: number } };
      return {
        sender: held.sender,
        copy: { id, trace, name: span.name, hasEnd: (span.endTimeUnixNano ?? 0) > 0 },
      };
    }),
  );
}
