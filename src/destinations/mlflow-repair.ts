import { appendAttribute } from '../otlp/append-attribute.ts';
import { editSpans, LARGE_LIST, LARGE_MAP } from '../otlp/edit-spans.ts';
import type { AttributeValue, EditableSpan, PlainValue, SpanEdit, Work } from '../otlp/edit-spans.ts';
import { REPAIR_MARK } from '../otlp/repair-mark.ts';
import { withoutUnstorable } from './unstorable.ts';
import { MOST_REPAIR_WORK } from './destination.ts';
import type { Mending, Repair } from './destination.ts';

/*
 * What MLflow 3.10 to 3.18 refuse a span for, and with it the whole request (server/otel_api.py,
 * store/tracking/sqlalchemy_store.py), where one attribute or time is to blame, or a text that its database cannot hold.
 * Pure.
 */

const SESSION = 'session.id';
const CONVERSATION = 'gen_ai.conversation.id';

/** Databases keep times as signed numbers of 64 bits. */
const LATEST = 2n ** 63n - 1n;

/** `text` is what goes in place of the value; undefined: the attribute is left out. `words` say what was done. */
type Mend = { readonly text: string | undefined; readonly words: string };
type Rule = (value: AttributeValue, work: Work) => Mend | undefined;

/** JSON of more characters is not parsed: it may take a hundred times its memory. Without its quotes it is too long for every column, too. */
const LONGEST_JSON = 128 * 1024;

/** Steps of `Work` that JSON takes, as measured: its beginning, a character, an error with its stack. */
const JSON_STEPS = { start: 30, character: 2, error: 400 } as const;

/** What a span takes here, with nothing to mend in it: its maps and sets. */
const SPAN_STEPS = 60;

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  [SESSION, atMost(250, textOf)],
  [CONVERSATION, atMost(250, textOf)],
  // These two are columns of a limited length on PostgreSQL; SQLite does not mind.
  ['user.id', atMost(8000, textOf)],
  ['mlflow.spanType', (value, work) => plain(value) ?? atMost(500, String)(value, work)],
  ['mlflow.traceTag.mlflow.traceName', atMost(4096, textOf)],
  ['mlflow.llm.cost', costs],
  ['mlflow.chat.tokenUsage', tokens],
  // By these MLflow looks the type of a span up, which fails for what Python cannot hash.
  ...[
    'gen_ai.operation.name',
    'openinference.span.kind',
    'traceloop.span.kind',
    'ai.operationId',
    'span.type',
    'entity.type',
    'lmnr.span.type',
    'langfuse.observation.type',
  ].map((key) => [key, (value: AttributeValue, work: Work) => plain(fromJson(value, work))] as const),
]);

const KEYS: ReadonlySet<string> = new Set(RULES.keys());

const NOTHING_REFUSED: Mending = { unstorable: new Set() };

/** See `Destination.repair`. A span for which no work is left stays as it is. */
export function repairForMlflow(
  payload: Uint8Array,
  work: Work = { left: MOST_REPAIR_WORK },
  mending: Mending = NOTHING_REFUSED,
): Repair | undefined {
  const texts = withoutUnstorable(payload, work, mending);
  const words = new Map(texts.words);
  const shared = new Map(texts.shared);
  const mendSpan = (span: EditableSpan, spanIndex: number): SpanEdit | undefined => {
    work.left -= SPAN_STEPS;
    const mended = mend(span, work);
    if (mended.words.length === 0 || work.left <= 0) return undefined;
    words.set(spanIndex, [...(words.get(spanIndex) ?? []), ...mended.words]);
    shared.delete(spanIndex);
    return mended;
  };
  const edited = mending.aroundOnly ? undefined : editSpans(texts.payload, KEYS, mendSpan, work);
  if (words.size === 0) return undefined;
  const spans = new Map(Array.from(words, ([spanIndex, each]) => [spanIndex, each.join('; ')]));
  return { payload: appendAttribute(edited ?? texts.payload, REPAIR_MARK, spans), spans, shared };
}

function mend(span: EditableSpan, work: Work): SpanEdit & { readonly words: readonly string[] } {
  const attributes = new Map<number, string | undefined>();
  const mends = span.attributes.map(({ key, value }) => RULES.get(key)?.(value, work));
  const session = span.attributes.findIndex(({ key }) => key === SESSION);
  const isLeftOut = mends[session] !== undefined && mends[session].text === undefined;
  const words: string[] = [];
  for (const [position, mended] of mends.entries()) {
    const { key } = span.attributes[position]!;
    // It is looked at in place of a session id only.
    if (mended === undefined || (key === CONVERSATION && session !== -1 && !isLeftOut)) continue;
    attributes.set(position, mended.text);
    words.push(`${key}: ${mended.words}`);
  }
  const { start, end } = span;
  const isLate = { start: start > LATEST, end: end > LATEST };
  if (isLate.start) words.push(timeWords('start', start, end));
  if (isLate.end) words.push(timeWords('end', end, start));
  return {
    attributes,
    ...(isLate.start && { start: insteadOf(end) }),
    ...(isLate.end && { end: insteadOf(start) }),
    words,
  };
}

/** A span without a duration keeps its place in its trace; centuries would hide the other spans. */
function insteadOf(other: bigint): bigint {
  return isTime(other) ? other : LATEST;
}

function timeWords(which: 'start' | 'end', time: bigint, other: bigint): string {
  const instead = isTime(other) ? `the ${which === 'start' ? 'end' : 'start'} time` : String(LATEST);
  return `${which} time: ${time} ns replaced by ${instead}, as MLflow stores less than 2^63`;
}

function isTime(time: bigint): boolean {
  return time > 0n && time <= LATEST;
}

/** @param read the text whose length MLflow looks at; it counts code points, as PostgreSQL does */
function atMost(limit: number, read: (value: PlainValue, work: Work) => string): Rule {
  return (value, work) => {
    if (!isLarge(value) && lengthOf(read(value, work), limit) <= limit) return undefined;
    return typeof value === 'string'
      ? { text: cut(value, limit), words: `cut from ${lengthOf(value)} to ${limit} characters` }
      : { text: undefined, words: `left out, as it is more than ${limit} characters long and no text` };
  };
}

/** Neither a list nor a map. */
function plain(value: AttributeValue): Mend | undefined {
  const isAnyList = isList(value) || value === LARGE_LIST;
  return isAnyList || isMap(value) || value === LARGE_MAP
    ? { text: undefined, words: `left out, as it is a ${isAnyList ? 'list' : 'map'} and no text` }
    : undefined;
}

const COSTS = ['input_cost', 'output_cost', 'total_cost'];
const TOKENS = [
  'input_tokens',
  'output_tokens',
  'total_tokens',
  'cache_read_input_tokens',
  'cache_creation_input_tokens',
  'cache_creation_input_tokens_above_1hr',
];

function costs(value: AttributeValue, work: Work): Mend | undefined {
  const object = fromJson(value, work);
  // MLflow 3.10 makes a number of each value in it.
  if (isMap(object)) return numbers(object, COSTS) ?? numbers(object);
  const large = isLarge(object) ? 'larger than 16 KiB' : isLong(object) ? 'larger than 128 KiB' : undefined;
  return { text: undefined, words: `left out, as it is ${large ?? 'not an object'}` };
}

/** What is no object is not counted by MLflow, and does no harm. */
function tokens(value: AttributeValue, work: Work): Mend | undefined {
  const object = fromJson(value, work);
  return isMap(object) ? numbers(object, TOKENS) : undefined;
}

/** @param keys those that must be numbers; missing: all */
function numbers(object: PlainMap, keys?: readonly string[]): Mend | undefined {
  const bad = (keys ?? Object.keys(object)).find(
    (key) => Object.hasOwn(object, key) && !isNumber(object[key]),
  );
  if (bad === undefined) return undefined;
  // Other keys than these are users' text.
  const what = keys === undefined ? 'one of its values' : `its ${bad}`;
  return { text: undefined, words: `left out, as ${what} is not a number` };
}

type PlainMap = { readonly [key: string]: PlainValue };

function isLarge(value: AttributeValue): value is typeof LARGE_LIST | typeof LARGE_MAP {
  return value === LARGE_LIST || value === LARGE_MAP;
}

function isLong(value: AttributeValue): boolean {
  return typeof value === 'string' && value.length > LONGEST_JSON;
}

function isList(value: AttributeValue): value is readonly PlainValue[] {
  return Array.isArray(value);
}

function isMap(value: AttributeValue): value is PlainMap {
  return typeof value === 'object' && value !== null && !isList(value) && !(value instanceof Uint8Array);
}

/** As Python adds: true is 1. */
function isNumber(value: PlainValue | undefined): boolean {
  return typeof value === 'number' || typeof value === 'boolean';
}

/** What a text says as JSON; other values, and other texts, are themselves. Python's JSON has NaN and Infinity. */
function fromJson(value: AttributeValue, work: Work, start = /^\s*["[{]/): AttributeValue {
  if (typeof value !== 'string' || isLong(value) || !start.test(value)) return value;
  work.left -= JSON_STEPS.start + value.length * JSON_STEPS.character;
  // What it says does not matter then: the span stays as it is.
  if (work.left <= 0) return value;
  try {
    const isQuoted = value.trimStart().startsWith('"');
    return JSON.parse(isQuoted ? value : value.replaceAll(/-?\b(NaN|Infinity)\b/g, '0')) as PlainValue;
  } catch {
    work.left -= JSON_STEPS.error;
    return value;
  }
}

/** As MLflow reads a value into a column of text: a text in quotes without them, and what is no text as JSON. */
function textOf(value: PlainValue, work: Work): string {
  if (typeof value !== 'string') return toJson(value);
  const read = fromJson(value, work, /^\s*"/);
  return typeof read === 'string' ? read : value;
}

/** As Python writes it, or nearly: numbers may differ. */
function toJson(value: PlainValue): string {
  if (isList(value)) return `[${value.map(toJson).join(', ')}]`;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (!isMap(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, inner]) => `${JSON.stringify(key)}: ${toJson(inner)}`)
    .join(', ')}}`;
}

/** In code points. Above `enough` it is not counted on. */
function lengthOf(text: string, enough = Infinity): number {
  let length = 0;
  for (let at = 0; at < text.length && length <= enough; length++)
    at += text.codePointAt(at)! > 0xffff ? 2 : 1;
  return length;
}

function cut(text: string, limit: number): string {
  let at = 0;
  for (let count = 0; count < limit; count++) at += text.codePointAt(at)! > 0xffff ? 2 : 1;
  return text.slice(0, at);
}
