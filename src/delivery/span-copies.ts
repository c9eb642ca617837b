import { spanEnds } from '../otlp/wire.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import type { HeldRecord } from './part.ts';

/* Copies of a span: spans of one sender with the same trace id and span id. Of those that wait one goes, the winner. */

/** One span in the window. */
export type SpanRef<H> = { readonly held: HeldRecord<H>; readonly spanIndex: number };

/** A span id as a key: its eight bytes, two in a character. */
export type SpanId = string;

export function spanIdOf({ idHigh, idLow }: SpanSlice): SpanId {
  return String.fromCharCode(idHigh >>> 16, idHigh & 0xffff, idLow >>> 16, idLow & 0xffff);
}

export function haveSameId(a: SpanSlice, b: SpanSlice): boolean {
  return a.idLow === b.idLow && a.idHigh === b.idHigh;
}

export function sliceOf({ held, spanIndex }: SpanRef<unknown>): SpanSlice {
  return held.spans[spanIndex] as SpanSlice;
}

/** Whether a copy that came later wins: but for a snapshot of a span of which the end is known, it does. */
export function wins(later: SpanSlice, earlier: SpanSlice): boolean {
  return later.hasEnd || !earlier.hasEnd;
}

/** The loser, and those that it had won against, wait for what becomes of the winner. */
export function supersede<H>(winner: SpanRef<H>, loser: SpanRef<H>): void {
  const others = takeOthers(loser) ?? [];
  others.push(loser);
  const { held, spanIndex } = winner;
  held.others ??= new Map();
  const before = held.others.get(spanIndex);
  if (before === undefined) held.others.set(spanIndex, others);
  else before.push(...others);
}

/** The copies that wait for what becomes of this span, and wait for it no longer. */
export function takeOthers<H>({ held, spanIndex }: SpanRef<H>): SpanRef<H>[] | undefined {
  const others = held.others?.get(spanIndex);
  if (others === undefined) return undefined;
  held.others!.delete(spanIndex);
  if (held.others!.size === 0) held.others = undefined;
  return others;
}

/** What becomes of the copies of a span that has left the window. */
export type Succession<H> = {
  /** The one that goes next, if any. */
  readonly next: SpanRef<H> | undefined;
  /** These are settled with the span. */
  readonly superseded: readonly SpanRef<H>[];
};

/**
 * After a delivery, the best copy goes of those that win over what was delivered, unless it is the same, byte by byte.
 * After a refusal the best goes of those that are not the same as what was refused.
 */
export function succession<H>(
  left: SpanRef<H>,
  others: readonly SpanRef<H>[],
  wasDelivered: boolean,
): Succession<H> {
  const isEqual = equalTo(left);
  const mayGo = (one: SpanRef<H>) =>
    wasDelivered ? byArrival(left, one) < 0 && wins(sliceOf(one), sliceOf(left)) : !isEqual(one);
  const candidates = others.filter(mayGo).toSorted(byArrival);
  const next = candidates.reduce<SpanRef<H> | undefined>(better, undefined);
  if (next === undefined || (wasDelivered && isEqual(next))) return { next: undefined, superseded: others };
  for (const loser of candidates) if (loser !== next) supersede(next, loser);
  return { next, superseded: others.filter((one) => !mayGo(one)) };
}

/** Copies that wait for what becomes of a span and are the same as it. */
export function equalCopies<H>(span: SpanRef<H>): SpanRef<H>[] {
  const others = span.held.others?.get(span.spanIndex);
  return others === undefined ? [] : others.filter(equalTo(span));
}

function better<H>(best: SpanRef<H> | undefined, later: SpanRef<H>): SpanRef<H> {
  return best === undefined || wins(sliceOf(later), sliceOf(best)) ? later : best;
}

function byArrival(a: SpanRef<unknown>, b: SpanRef<unknown>): number {
  return a.held.order - b.held.order || a.spanIndex - b.spanIndex;
}

/** Whether a span has the same bytes, without what is around it. */
function equalTo(span: SpanRef<unknown>): (other: SpanRef<unknown>) => boolean {
  const bytes = bytesOf(span);
  return (other) => sliceOf(other).bytes === bytes.length && bytes.equals(bytesOf(other));
}

function bytesOf(span: SpanRef<unknown>): Buffer {
  const { held, spanIndex } = span;
  held.ends ??= spanEnds(held.payload);
  const end = held.ends[spanIndex] as number;
  const { bytes } = sliceOf(span);
  return Buffer.from(held.payload.buffer, held.payload.byteOffset + end - bytes, bytes);
}
