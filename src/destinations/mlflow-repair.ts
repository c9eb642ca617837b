import { editSpans, LARGE_LIST, LARGE_MAP, LARGEST_VALUE } from '../otlp/edit-spans.ts';
import type { AttributeValue, EditableSpan, PlainValue, SpanEdit } from '../otlp/edit-spans.ts';
import type { Repair } from './destination.ts';

/*
 * What MLflow 3.17 refuses a span for, and with it the whole request (server/otel_api.py,
 * store/tracking/sqlalchemy_store.py), where one attribute or time is to blame. Pure.
 */

/** The attribute that says what was done to a span. */
const MARK = 'relay.repaired';

const SESSION = 'session.id';
const CONVERSATION = 'gen_ai.conversation.id';

/** Databases keep times as signed numbers of 64 bits. */
const LATEST = 2n ** 63n - 1n;

/** `text` is what goes in place of the value; undefined: the attribute is left out. `words` say what was done. */
type Mend = { readonly text: string | undefined; readonly words: string };
type Rule = (value: AttributeValue) => Mend | undefined;

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  [SESSION, atMost(250, textOf)],
  [CONVERSATION, atMost(250, textOf)],
  // These two are columns of a limited length on PostgreSQL; SQLite does not mind.
  ['user.id', atMost(8000, textOf)],
  ['mlflow.spanType', (value) => plain(value) ?? atMost(500, String)(value)],
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
  ].map((key) => [key, (value: AttributeValue) => plain(fromJson(value))] as const),
]);

const KEYS: ReadonlySet<string> = new Set(RULES.keys());

/** See `Destination.repair`. */
export function repairForMlflow(payload: Uint8Array): Repair | undefined {
  const spans = new Map<number, string>();
  const repaired = editSpans(payload, KEYS, (span, spanIndex) => {
    const { words, ...edit } = mend(span);
    if (words.length === 0) return undefined;
    const done = words.join('; ');
    spans.set(spanIndex, done);
    return { ...edit, more: { [MARK]: done } };
  });
  return repaired && { payload: repaired, spans };
}

function mend(span: EditableSpan): SpanEdit & { readonly words: readonly string[] } {
  const attributes = new Map<number, string | undefined>();
  // What is true of several attributes of a key is said once.
  const words = new Set<string>();
  const hasSession = span.attributes.some(({ key, value }) => key === SESSION && !isLeftOut(key, value));
  for (const [position, { key, value }] of span.attributes.entries()) {
    // It is looked at in place of a session id only.
    if (key === CONVERSATION && hasSession) continue;
    const mended = RULES.get(key)?.(value);
    if (mended === undefined) continue;
    attributes.set(position, mended.text);
    words.add(`${key}: ${mended.words}`);
  }
  const { start, end } = span;
  const isLate = { start: start > LATEST, end: end > LATEST };
  if (isLate.start) words.add(timeWords('start', start, end));
  if (isLate.end) words.add(timeWords('end', end, start));
  return {
    attributes,
    ...(isLate.start && { start: insteadOf(end) }),
    ...(isLate.end && { end: insteadOf(start) }),
    words: [...words],
  };
}

function isLeftOut(key: string, value: AttributeValue): boolean {
  const mended = RULES.get(key)?.(value);
  return mended !== undefined && mended.text === undefined;
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
function atMost(limit: number, read: (value: PlainValue) => string): Rule {
  return (value) => {
    if (!isLarge(value) && lengthOf(read(value), limit) <= limit) return undefined;
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

function costs(value: AttributeValue): Mend | undefined {
  const object = fromJson(value);
  if (isMap(object)) return numbers(object, COSTS);
  const why = isLarge(object) || isLong(object) ? 'larger than 128 KiB' : 'not an object';
  return { text: undefined, words: `left out, as it is ${why}` };
}

/** What is no object is not counted by MLflow, and does no harm. */
function tokens(value: AttributeValue): Mend | undefined {
  const object = fromJson(value);
  return isMap(object) ? numbers(object, TOKENS) : undefined;
}

function numbers(object: PlainMap, keys: readonly string[]): Mend | undefined {
  const bad = keys.find((key) => Object.hasOwn(object, key) && !isNumber(object[key]));
  return bad === undefined
    ? undefined
    : { text: undefined, words: `left out, as its ${bad} is not a number` };
}

type PlainMap = { readonly [key: string]: PlainValue };

function isLarge(value: AttributeValue): value is typeof LARGE_LIST | typeof LARGE_MAP {
  return value === LARGE_LIST || value === LARGE_MAP;
}

/** As JSON it may take a hundred times its memory. Without its quotes it is too long for every column, too. */
function isLong(value: AttributeValue): boolean {
  return typeof value === 'string' && value.length > LARGEST_VALUE;
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
function fromJson(value: AttributeValue, start = /^\s*["[{]/): AttributeValue {
  if (typeof value !== 'string' || isLong(value) || !start.test(value)) return value;
  try {
    return JSON.parse(value.replaceAll(/-?\b(NaN|Infinity)\b/g, '0')) as PlainValue;
  } catch {
    return value;
  }
}

/** As MLflow reads a value into a column of text: a text in quotes without them, and what is no text as JSON. */
function textOf(value: PlainValue): string {
  if (typeof value !== 'string') return toJson(value);
  const read = fromJson(value, /^\s*"/);
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
