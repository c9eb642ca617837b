import { isDeepStrictEqual } from 'node:util';
import type { SentAttributes, SentSpan, SentValue } from './sent-spans.ts';
import type { StoredAttributes, StoredSpan, StoredValue } from './stored-trace.ts';

/** One thing that MLflow shows otherwise than it was sent; `sent` and `stored` are texts for people, cut. */
export type Difference = {
  readonly spanId: string;
  /** Name of the span. */
  readonly span: string;
  /** `span`, `parent`, `name`, `start`, `end`, `status`, `events`, `links` or `attribute KEY`. */
  readonly what: string;
  readonly sent: string;
  readonly stored: string;
};

/** Of one value in a difference. */
const LONGEST_TEXT = 120;

const NOTHING = 'nothing';

/**
 * What is different between the spans of a trace and what MLflow 3.17 has of it, in any order of spans. Known of MLflow,
 * and no difference: attributes of its own (`mlflow.…`) beside those that were sent; a text that is JSON is shown as
 * what it says; bytes are shown as some text; the message of a status that is no error is dropped; the kind of a span is
 * not given back. Pure.
 */
export function compareSpans(sent: readonly SentSpan[], stored: readonly StoredSpan[]): Difference[] {
  const left = new Map(stored.map((span) => [span.spanId, span]));
  const differences = sent.flatMap((span) => {
    const other = left.get(span.spanId);
    left.delete(span.spanId);
    return other === undefined ? [difference(span, 'span', 'a span', NOTHING)] : compareSpan(span, other);
  });
  return [...differences, ...[...left.values()].map((span) => difference(span, 'span', NOTHING, 'a span'))];
}

function compareSpan(sent: SentSpan, stored: StoredSpan): Difference[] {
  const of = (what: string, one: unknown, other: unknown, isSame = one === other) =>
    isSame ? [] : [difference(sent, what, shown(one), shown(other))];
  return [
    ...of('parent', sent.parentSpanId, stored.parentSpanId),
    ...of('name', sent.name, stored.name),
    ...of('start', sent.start, stored.start),
    ...of('end', sent.end, stored.end),
    ...of('status', sent.status, stored.status, isSameStatus(sent.status, stored.status)),
    ...compareAttributes(sent, stored),
    ...of('events', sent.events, stored.events, isSameList(sent.events, stored.events, isSameEvent)),
    ...of('links', sent.links, stored.links, isSameList(sent.links, stored.links, isSameLink)),
  ];
}

function compareAttributes(span: SentSpan, { attributes: stored }: StoredSpan): Difference[] {
  const keys = new Set([...Object.keys(span.attributes), ...Object.keys(stored)]);
  // MLflow's own word, whatever was sent.
  keys.delete('mlflow.traceRequestId');
  return [...keys].flatMap((key) => {
    const has = { sent: Object.hasOwn(span.attributes, key), stored: Object.hasOwn(stored, key) };
    if (!has.sent && key.startsWith('mlflow.')) return [];
    if (has.sent && has.stored && isShownAs(span.attributes[key]!, stored[key]!)) return [];
    return [
      difference(
        span,
        `attribute ${key}`,
        shownIf(has.sent, span.attributes[key]),
        shownIf(has.stored, stored[key]),
      ),
    ];
  });
}

function isSameStatus(sent: SentSpan['status'], stored: StoredSpan['status']): boolean {
  return sent.code === stored.code && (sent.code !== 'STATUS_CODE_ERROR' || sent.message === stored.message);
}

function isSameEvent(sent: SentSpan['events'][number], stored: StoredSpan['events'][number]): boolean {
  return (
    sent.name === stored.name && sent.time === stored.time && isSameMap(sent.attributes, stored.attributes)
  );
}

function isSameLink(sent: SentSpan['links'][number], stored: StoredSpan['links'][number]): boolean {
  return (
    sent.traceId === stored.traceId &&
    sent.spanId === stored.spanId &&
    isSameMap(sent.attributes, stored.attributes)
  );
}

function isSameMap(sent: SentAttributes, stored: StoredAttributes): boolean {
  const keys = Object.keys(sent);
  return (
    keys.length === Object.keys(stored).length &&
    keys.every((key) => Object.hasOwn(stored, key) && isShownAs(sent[key]!, stored[key]!))
  );
}

function isSameList<A, B>(
  sent: readonly A[],
  stored: readonly B[],
  isSame: (one: A, other: B) => boolean,
): boolean {
  return sent.length === stored.length && sent.every((one, index) => isSame(one, stored[index]!));
}

function isShownAs(sent: SentValue, stored: StoredValue): boolean {
  if (sent instanceof Uint8Array) return typeof stored === 'string';
  if (Array.isArray(sent)) return Array.isArray(stored) && isSameList(sent, stored, isShownAs);
  if (typeof sent === 'object' && sent !== null) {
    return typeof stored === 'object' && stored !== null && !Array.isArray(stored) && isSameMap(sent, stored);
  }
  if (sent === stored) return true;
  if (typeof sent === 'number') return !Number.isFinite(sent) && stored === String(sent);
  return typeof sent === 'string' && isDeepStrictEqual(unfold(sent), stored);
}

/** Texts, lists and maps in JSON; numbers and the like stay texts. */
function unfold(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'string' || (typeof value === 'object' && value !== null) ? value : text;
  } catch {
    return text;
  }
}

function difference(
  { spanId, name }: SentSpan | StoredSpan,
  what: string,
  sent: string,
  stored: string,
): Difference {
  return { spanId, span: name, what, sent, stored };
}

function shownIf(isThere: boolean, value: unknown): string {
  return isThere ? shown(value) : NOTHING;
}

function shown(value: unknown): string {
  const text =
    JSON.stringify(value, (_key, inner: unknown) => {
      if (typeof inner === 'bigint') return String(inner);
      return inner;
    }) ?? 'undefined';
  if (text.length <= LONGEST_TEXT) return text;
  const length = typeof value === 'string' ? [...value].length : text.length;
  return `${text.slice(0, LONGEST_TEXT)}… (${length} characters)`;
}
