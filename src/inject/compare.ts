import { parseExactly } from './exact-json.ts';
import type { SentAttributes, SentSpan, SentValue } from './sent-spans.ts';
import type { StoredAttributes, StoredSpan, StoredValue } from './stored-trace.ts';

/** One thing that MLflow shows otherwise than it was sent; `sent` and `stored` are texts for people, cut. */
export type Difference = {
  readonly spanId: string;
  /** Name of the span. */
  readonly span: string;
  /** `span`, `parent`, `name`, `kind`, `start`, `end`, `status`, `events`, `links` or `attribute KEY`. */
  readonly what: string;
  readonly sent: string;
  readonly stored: string;
};

/** Of one value in a difference. */
const LONGEST_TEXT = 120;

const NOTHING = 'nothing';

/** Attributes of a root that MLflow 3.18 drops, as the tags of these names are its own. */
const DROPPED: ReadonlySet<string> = new Set([
  'mlflow.traceTag.mlflow.artifactLocation',
  'mlflow.traceTag.mlflow.trace.spansLocation',
  'mlflow.traceTag.mlflow.trace.archiveLocation',
  'mlflow.traceTag.mlflow.trace.archivalFailure',
]);

/** What Python's JSON has beside the standard's, and texts, in which it is not looked for. */
const PYTHON_NUMBER = /"(?:[^"\\]+|\\[^])*"?|NaN|-?Infinity/g;

/**
 * What is different between the spans of a trace and what MLflow (3.10 to 3.18) has of it, in any order of spans. Known
 * of MLflow, and no difference: attributes of its own (`mlflow.…`) beside those that were sent, and tags of its own
 * dropped; a text that is JSON is shown as what it says, where it is an attribute of a span; bytes are shown as some
 * text; the message of a status that is no error is dropped; a span without a kind is internal, and before 3.18 no kind
 * is given back. Pure.
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
  const of = (what: string, one: unknown, other: unknown, isEqual = one === other) =>
    isEqual ? [] : [difference(sent, what, shown(one), shown(other))];
  return [
    ...of('parent', sent.parentSpanId, stored.parentSpanId),
    ...of('name', sent.name, stored.name),
    ...of('kind', sent.kind, stored.kind, isSameKind(sent.kind, stored.kind)),
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
    if (!has.stored && span.parentSpanId === '' && DROPPED.has(key)) return [];
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

function isSameKind(sent: string, stored: string | undefined): boolean {
  return stored === undefined || stored === (sent === 'SPAN_KIND_UNSPECIFIED' ? 'SPAN_KIND_INTERNAL' : sent);
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
    keys.every((key) => Object.hasOwn(stored, key) && isSame(sent[key]!, stored[key]!))
  );
}

function isSameList<A, B>(
  sent: readonly A[],
  stored: readonly B[],
  isSameItem: (one: A, other: B) => boolean,
): boolean {
  return sent.length === stored.length && sent.every((one, index) => isSameItem(one, stored[index]!));
}

/** An attribute of a span; those of events and links are shown as they are. */
function isShownAs(sent: SentValue, stored: StoredValue): boolean {
  return isSame(sent, stored) || (typeof sent === 'string' && isSame(unfold(sent), stored));
}

function isSame(sent: SentValue, stored: StoredValue): boolean {
  if (sent === stored) return true;
  if (sent instanceof Uint8Array) return typeof stored === 'string';
  if (Array.isArray(sent)) return Array.isArray(stored) && isSameList(sent, stored, isSame);
  if (typeof sent === 'object' && sent !== null) {
    return typeof stored === 'object' && stored !== null && !Array.isArray(stored) && isSameMap(sent, stored);
  }
  return typeof sent === 'number' && !Number.isFinite(sent) && stored === String(sent);
}

/** Texts, lists and maps in JSON; numbers and the like stay texts. */
function unfold(text: string): SentValue {
  try {
    const standard = text.replaceAll(PYTHON_NUMBER, (found) =>
      found.startsWith('"') ? found : `"${found}"`,
    );
    const value = parseExactly(standard) as SentValue;
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
