import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Batch } from '../../src/delivery/batch.ts';
import { halve } from '../../src/delivery/divide.ts';
import { TraceWindow } from '../../src/delivery/trace-window.ts';
import type { WindowLimits } from '../../src/delivery/trace-window.ts';
import { indexSpans } from '../../src/otlp/wire.ts';
import { decode, encode, traceIdOf } from './support.ts';
import type { ResourceSpec, SentSpan } from './support.ts';

/** What the model remembers of the spans of a trace for a target that were not taken. */
type Expected = {
  readonly target: string;
  readonly trace: number;
  /** Who sent the first of them. */
  readonly sender: string;
  readonly firstReceivedAt: number;
  ids: number[];
  hasRoot: boolean;
};
type Shape = { trace: number; isRoot: boolean; long: boolean }[][][];
type Step =
  | { kind: 'add'; later: number; sender: string; target: string; resources: Shape }
  | { kind: 'take'; later: number; atTail: boolean; only: string | undefined }
  | { kind: 'apart'; sender: string; isApart: boolean }
  | { kind: 'halve'; which: number }
  | { kind: 'release'; which: number };

const SENDERS = ['agent', 'gateway'];
const oneOf = <T>(...values: T[]) => fc.constantFrom(...values);
const span = fc.record({ trace: fc.nat(6), isRoot: fc.boolean(), long: oneOf(false, false, false, true) });
const resources = fc.array(fc.array(fc.array(span, { maxLength: 5 }), { minLength: 1, maxLength: 2 }), {
  minLength: 1,
  maxLength: 3,
});
export const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('add' as const),
    later: oneOf(0, 1, 900),
    sender: oneOf(...SENDERS),
    target: oneOf('a', 'b'),
    resources,
  }),
  fc.record({
    kind: fc.constant('take' as const),
    later: oneOf(0, 400),
    atTail: fc.boolean(),
    only: oneOf(undefined, undefined, ...SENDERS),
  }),
  fc.record({ kind: fc.constant('apart' as const), sender: oneOf(...SENDERS), isApart: fc.boolean() }),
  fc.record({ kind: fc.constant('halve' as const), which: fc.nat(10) }),
  fc.record({ kind: fc.constant('release' as const), which: fc.nat(10) }),
);

/**
 * Runs a window beside a plain account of what went in, and fails at the first difference. Keeps all that a batch
 * must be: of free and ready traces, whole, in order, within the limits, with every byte of its spans.
 */
export class WindowModel {
  readonly #limits: WindowLimits;
  readonly #window: TraceWindow<string>;
  /** By target and trace, and by sender for what it sent while it was apart. */
  readonly #waiting = new Map<string, Expected>();
  readonly #apart = new Set<string>();
  /** When the last root of a trace for a target came. */
  readonly #rootedAt = new Map<string, number>();
  readonly #facts = new Map<number, string>();
  readonly #recordOfSpan = new Map<number, string>();
  readonly #open = new Map<string, Set<number>>();
  readonly #out: Batch<string>[] = [];
  #now = 1_000_000;
  #lastReceivedAt = 0;
  /** When traces may last have been made ready by the clock, and because the window was full. */
  #lastTailAt = 0;
  #lastFullAt = 0;
  #lastId = 0;
  #records = 0;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
    this.#window = new TraceWindow(limits);
  }

  run(next: Step): void {
    if (next.kind === 'add') {
      this.#now += next.later;
      this.#add(next);
    } else if (next.kind === 'take') {
      this.#now += next.later;
      // By name only those that are apart are asked for.
      if (next.only === undefined || this.#apart.has(next.only)) this.#take(next.atTail, next.only);
    } else if (next.kind === 'apart') {
      this.#window.setApart(next.sender, next.isApart);
      if (next.isApart) this.#apart.add(next.sender);
      else this.#apart.delete(next.sender);
    } else if (next.kind === 'halve') {
      this.#halve(next.which);
    } else {
      this.#release(next.which);
    }
  }

  /** Lets all waiting end, and all that is left out; returns what is left after that. */
  drain(): { spans: number; records: number; bytes: number } {
    this.#now += this.#limits.traceWaitMs;
    do {
      while (this.#take(true) || [...this.#apart].some((sender) => this.#take(true, sender)));
    } while (this.#release(0));
    return { spans: this.#waiting.size, records: this.#open.size, bytes: this.#window.bytes };
  }

  #add({ sender, target, resources: shape }: Extract<Step, { kind: 'add' }>): void {
    const record = `record ${this.#records++}`;
    const spec: ResourceSpec[] = shape.map((scopes, r) => ({
      name: `${sender} ${r} ${record}`,
      scopes: scopes.map((spans, s) => ({
        name: `scope ${s}`,
        spans: spans.map(({ long, ...rest }) => ({
          ...rest,
          id: ++this.#lastId,
          ...(long ? { name: 'long'.repeat(100) } : {}),
        })),
      })),
    }));
    const payload = encode(spec);
    const spans = indexSpans(payload);
    if (spans.length === 0) return;
    this.#lastReceivedAt = this.#now;
    const description = `experiment ${target}`;
    this.#window.add({
      handle: record,
      sender,
      target: { key: target, description },
      payload,
      spans,
      receivedAt: this.#now,
    });
    this.#open.set(record, new Set());
    const roots = new Set(
      spec.flatMap((r) => r.scopes.flatMap((s) => s.spans.filter((one) => one.isRoot).map(({ id }) => id))),
    );
    for (const { id, trace, facts } of decode(payload)) {
      this.#facts.set(id, facts);
      this.#recordOfSpan.set(id, record);
      this.#open.get(record)?.add(id);
      const rootKey = `${target} ${trace}`;
      const key = this.#apart.has(sender) ? `${rootKey} ${sender}` : rootKey;
      const expected = this.#waiting.get(key) ?? {
        target,
        trace,
        sender,
        firstReceivedAt: this.#now,
        ids: [],
        hasRoot: this.#now - (this.#rootedAt.get(rootKey) ?? -Infinity) <= this.#limits.traceWaitMs,
      };
      expected.ids.push(id);
      expected.hasRoot ||= roots.has(id);
      this.#waiting.set(key, expected);
      if (!roots.has(id)) continue;
      this.#rootedAt.set(rootKey, this.#now);
      // What its sender has sent of the trace is ready, whether it was apart then or not.
      for (const one of [rootKey, `${rootKey} ${sender}`]) {
        const waiting = this.#waiting.get(one);
        if (waiting !== undefined) waiting.hasRoot = true;
      }
    }
  }

  #take(atTail: boolean, only?: string): boolean {
    if (this.#window.isFull) this.#lastFullAt = this.#now;
    if (atTail) this.#lastTailAt = this.#now;
    const batch = this.#window.take({ now: this.#now, atTail, only });
    const busy = new Set(this.#out.flatMap(({ traces }) => [...traces.keys()]));
    if (batch === undefined) {
      for (const [key, expected] of this.#waiting) {
        if (!this.#mayGo(expected, only)) continue;
        const isBusy = busy.has(traceIdOf(expected.trace));
        // A full window makes no more ready than it takes for a whole request of those that are not apart.
        const isPressed = this.#window.isFull && !this.#window.hasFullBatch;
        const isReady = this.#isReady(expected) || isPressed;
        assert(isBusy || !isReady, `${key} was left, though it was ready`);
      }
      return false;
    }
    this.#out.push(batch);
    assert(![...batch.traces.keys()].some((id) => busy.has(id)));
    this.#checkLimits(batch);

    const sent = decode(joined(batch));
    assert.equal(sent.length, batch.spanCount);
    assert.deepEqual(spansByTrace(sent), batch.traces);
    assert.deepEqual(
      batch.parts.map(({ payload }) => decode(payload).map(({ id }) => this.#recordOfSpan.get(id))),
      batch.parts.map(({ held, spanIndexes }) => spanIndexes.map(() => held.handle)),
    );
    for (const { id, facts } of sent) assert.equal(facts, this.#facts.get(id));
    for (const { id } of sent) assert(this.#facts.delete(id), `span ${id} went twice`);
    for (const traceId of batch.traces.keys()) this.#takeTrace(batch, Number(`0x${traceId}`), sent, only);
    return true;
  }

  /** A large envelope may go over the size, but leaves room for no more spans than fit into half of it. */
  #checkLimits(batch: Batch<string>): void {
    const { maxBatchSpans, maxBatchSize } = this.#limits;
    assert(batch.spanCount <= maxBatchSpans);
    const envelope = Math.max(...batch.parts.map(({ held }) => held.envelope));
    const most = Math.max(maxBatchSize, envelope + maxBatchSize / 2);
    assert(batch.spanCount === 1 || joined(batch).length <= most);
  }

  #mayGo({ sender }: Expected, only: string | undefined): boolean {
    return only === undefined ? !this.#apart.has(sender) : sender === only;
  }

  #takeTrace(batch: Batch<string>, trace: number, sent: readonly SentSpan[], only: string | undefined): void {
    const first = sent.find((one) => one.trace === trace)?.id;
    const [key, expected] = [...this.#waiting].find(([, { ids }]) => ids[0] === first) as [string, Expected];
    assert.deepEqual([expected.target, expected.trace], [batch.target.key, trace]);
    assert(this.#mayGo(expected, only), `${key} went in another's turn`);
    const ids = sent.filter((one) => one.trace === trace).map(({ id }) => id);
    assert.deepEqual(ids, expected.ids.slice(0, ids.length));
    const isReady = this.#isReady(expected) || this.#lastFullAt >= expected.firstReceivedAt;
    assert(isReady, `${key} was not ready`);
    expected.ids.splice(0, ids.length);
    if (expected.ids.length === 0) this.#waiting.delete(key);
    else assert.equal(batch.traces.size, 1, 'part of a trace beside others');
  }

  #isReady({ hasRoot, firstReceivedAt }: Expected): boolean {
    const dueAt = firstReceivedAt + this.#limits.traceWaitMs;
    return hasRoot || this.#lastReceivedAt >= dueAt || this.#lastTailAt >= dueAt;
  }

  /** From here on its halves are out in its place, and are settled one by one. */
  #halve(which: number): void {
    const at = which % Math.max(1, this.#out.length);
    const batch = this.#out[at];
    const halves = batch && halve(batch);
    if (batch === undefined || halves === undefined) return;
    assert.deepEqual(halves.flatMap(spansOf).toSorted(byId), spansOf(batch).toSorted(byId));
    for (const half of halves) assert.deepEqual(spansByTrace(spansOf(half)), half.traces);
    const shared = [...halves[0].traces.keys()].filter((traceId) => halves[1].traces.has(traceId));
    assert.equal(shared.length, batch.traces.size === 1 ? 1 : 0, 'a trace in both halves');
    this.#out.splice(at, 1, ...halves);
  }

  #release(which: number): boolean {
    const [batch] = this.#out.splice(which % Math.max(1, this.#out.length), 1);
    if (batch === undefined) return false;
    const done: string[] = [];
    for (const { id } of decode(joined(batch))) {
      const record = this.#recordOfSpan.get(id) as string;
      const open = this.#open.get(record) as Set<number>;
      open.delete(id);
      if (open.size > 0) continue;
      this.#open.delete(record);
      done.push(record);
    }
    assert.deepEqual(this.#window.settle(batch, 'delivered').handles.toSorted(), done.toSorted());
    return true;
  }
}

function spansOf(batch: Batch<unknown>): SentSpan[] {
  return decode(joined(batch));
}

function byId(a: SentSpan, b: SentSpan): number {
  return a.id - b.id;
}

function spansByTrace(spans: readonly SentSpan[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { trace } of spans) counts.set(traceIdOf(trace), (counts.get(traceIdOf(trace)) ?? 0) + 1);
  return counts;
}

function joined(batch: Batch<unknown>): Buffer {
  return Buffer.concat(batch.parts.map(({ payload }) => payload));
}
