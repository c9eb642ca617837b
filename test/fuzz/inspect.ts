import { crc32 } from 'node:zlib';
import { encodeSpansOfJson, encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { ExportTraceServiceRequest } from '../../src/otlp/schema.ts';
import { siftTraces } from '../../src/otlp/sift.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { cutSpans, indexSpans, scanTraces, splitSpans } from '../../src/otlp/wire.ts';
import type { ScanResult, SpanSlice } from '../../src/otlp/wire.ts';
import { messageOf } from '../../src/errors.ts';
import { seeded } from '../fault/support/random.ts';
import type { Random } from '../fault/support/random.ts';
import { changeBytes } from './mutate.ts';

/** What is fuzzed; a test puts something broken in its place. */
export type Subject = {
  readonly scanTraces: typeof scanTraces;
  readonly indexSpans: typeof indexSpans;
  readonly cutSpans: typeof cutSpans;
  readonly splitSpans: typeof splitSpans;
  readonly siftTraces: typeof siftTraces;
  readonly tracesToJson: typeof tracesToJson;
  readonly encodeTracesJsonNow: typeof encodeTracesJsonNow;
  readonly encodeSpansOfJson: typeof encodeSpansOfJson;
};

export const RELAY: Subject = {
  scanTraces,
  indexSpans,
  cutSpans,
  splitSpans,
  siftTraces,
  tracesToJson,
  encodeTracesJsonNow,
  encodeSpansOfJson,
};

/** What is wrong. Two findings with one `kind` are taken for the same. */
export type Finding = { readonly kind: string; readonly detail: string };

/** A part of a request: which spans are kept, a byte of 1 for each and of 0 for the others, and its bytes. */
export type Cut = { readonly kept: Uint8Array; readonly bytes: Uint8Array };

/** What the relay makes of a body. */
export type Inspected =
  | {
      readonly accepted: false;
      readonly refusal: string;
      /** What is left of it without the spans that are to blame, and with their texts mended. */
      readonly rest?: Uint8Array;
    }
  | {
      readonly accepted: true;
      readonly spanCount: number;
      readonly invalidSpans: number;
      readonly spans: readonly SpanSlice[];
      readonly cuts: readonly Cut[];
      /** The body as JSON, and back. */
      readonly fromJson: Uint8Array;
      /** Of the same JSON with changes, what became protobuf, whole and without the spans that are to blame. */
      readonly fromChangedJson: readonly Uint8Array[];
    };

/** No honest body takes a hundredth of it. */
export const LONGEST_MS = 1_000;

/** Texts that are made of the JSON of each body. */
const CHANGED_TEXTS = 2;

class Misbehaviour extends Error {
  readonly kind: string;
  constructor(kind: string, detail: string) {
    super(detail);
    this.kind = kind;
  }
}

/** Does all with a body that needs no other parser; what it chooses by chance is the same for the same bytes. */
export function inspect(subject: Subject, body: Uint8Array): Inspected | Finding {
  return timed(() => inspectBody(subject, body));
}

/** The payload that a text of JSON becomes, undefined where it is refused. */
export function inspectJson(subject: Subject, text: Uint8Array): Uint8Array | undefined | Finding {
  return timed(() => encodeJson(subject, text));
}

export function isFinding(result: unknown): result is Finding {
  return typeof result === 'object' && result !== null && 'kind' in result;
}

function timed<T>(work: () => T): T | Finding {
  try {
    const first = timeOf(work);
    if (first.ms <= LONGEST_MS) return first.result;
    // The machine may have been busy with something else; what is slow is slow again.
    const again = timeOf(work);
    if (again.ms <= LONGEST_MS) return again.result;
    return {
      kind: 'slow',
      detail: `it took ${Math.round(again.ms)} ms, and ${Math.round(first.ms)} ms before`,
    };
  } catch (error) {
    if (error instanceof Misbehaviour) return { kind: error.kind, detail: error.message };
    throw error;
  }
}

function timeOf<T>(work: () => T): { result: T; ms: number } {
  const startedAt = performance.now();
  const result = work();
  return { result, ms: performance.now() - startedAt };
}

function inspectBody(subject: Subject, body: Uint8Array): Inspected {
  const scan = calmly('scanTraces', () => subject.scanTraces(body));
  if (!scan.ok) {
    const rest = restOf(subject, Uint8Array.from(body));
    return { accepted: false, refusal: scan.message, ...(rest && { rest }) };
  }
  const { spanCount } = scan;
  const spans = calmly('indexSpans', () => subject.indexSpans(body));
  if (spans.length !== spanCount) {
    throw new Misbehaviour('indexSpans: count', `${spans.length} spans where scanTraces has ${spanCount}`);
  }
  const random = seeded(crc32(body));
  const cuts = [
    ...cutsOf(subject, body, spans, random),
    ...partsOf(subject, body, spans, random),
    ...sifted(subject, body, spanCount - invalidSpansOf(scan)),
  ];
  const json = calmly('tracesToJson', () => Buffer.from(JSON.stringify(subject.tracesToJson(body))));
  const fromJson = encodeJson(subject, json);
  if (fromJson === undefined) throw new Misbehaviour('JSON: refused', refusalOf(subject, json));
  return {
    accepted: true,
    spanCount,
    invalidSpans: invalidSpansOf(scan),
    spans,
    cuts,
    fromJson,
    fromChangedJson: fromChangedJson(subject, json, random),
  };
}

/** What is left of a body that is not taken as it is; undefined where it is refused. What is given is used up. */
function restOf(subject: Subject, body: Uint8Array): Uint8Array | undefined {
  const sift = calmly('siftTraces of the rest', () => subject.siftTraces(body, Infinity));
  if (!sift.ok) return undefined;
  const scan = calmly('scanTraces of the rest', () => subject.scanTraces(sift.payload));
  if (!scan.ok) throw new Misbehaviour('siftTraces: framing', scan.message);
  if (scan.spanCount !== sift.spanCount || scan.invalidSpanCount > 0) {
    throw new Misbehaviour('siftTraces: rest', `${JSON.stringify(scan)}, not ${sift.spanCount} good spans`);
  }
  return sift.payload;
}

function invalidSpansOf(scan: Extract<ScanResult, { ok: true }>): number {
  return scan.invalidSpanCount;
}

/** A request that is divided by chance, as the relay divides one that was refused. */
function cutsOf(subject: Subject, body: Uint8Array, spans: readonly SpanSlice[], random: Random): Cut[] {
  const some = Uint8Array.from(spans, () => random.below(2));
  const masks = [some, some.map((kept) => 1 - kept)];
  return masks.map((kept) => {
    const bytes = calmly('cutSpans', () => subject.cutSpans(body, (index) => kept[index] === 1));
    checkCut(subject, 'cutSpans', spans, { kept, bytes });
    return { kept, bytes };
  });
}

/** A request in parts of a few spans, as a large one enters the window. */
function partsOf(subject: Subject, body: Uint8Array, spans: readonly SpanSlice[], random: Random): Cut[] {
  const limits = { maxSpans: 1 + random.below(4), maxBytes: 1 + random.below(2000) };
  const parts = calmly('splitSpans', () => [...subject.splitSpans(body, limits)]);
  let from = 0;
  const cuts = parts.flatMap((part) => {
    if (part === undefined) return [];
    const to = from + part.spans.length;
    const kept = Uint8Array.from(spans, (_, index) => (index >= from && index < to ? 1 : 0));
    from = to;
    const cut = { kept, bytes: part.payload };
    checkCut(subject, 'splitSpans', spans, cut);
    return [cut];
  });
  if (from !== spans.length) throw new Misbehaviour('splitSpans: count', `${from} of ${spans.length} spans`);
  return cuts;
}

/** What is left of a body with spans that cannot be taken. */
function sifted(subject: Subject, body: Uint8Array, validSpans: number): Cut[] {
  const sift = calmly('siftTraces', () => subject.siftTraces(Uint8Array.from(body), Infinity));
  if (!sift.ok) throw new Misbehaviour('siftTraces: refused', JSON.stringify(sift));
  if (sift.spanCount !== validSpans) {
    throw new Misbehaviour('siftTraces: count', `${sift.spanCount} spans, not ${validSpans}`);
  }
  if (sift.invalidSpanCount === 0) {
    if (Buffer.compare(sift.payload, body) === 0) return [];
    throw new Misbehaviour('siftTraces: changed', 'a body without a span to be left out');
  }
  return [{ kept: Uint8Array.from(validityOf(body), Number), bytes: sift.payload }];
}

const isId = (id: Uint8Array, length: number) => id.length === length && id.some((byte) => byte !== 0);

/** By protobufjs, of each span. */
function validityOf(body: Uint8Array): boolean[] {
  type Ids = { traceId: Uint8Array; spanId: Uint8Array; parentSpanId: Uint8Array };
  const request = ExportTraceServiceRequest.decode(body) as unknown as {
    resourceSpans: { scopeSpans: { spans: Ids[] }[] }[];
  };
  const spans = request.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans));
  return spans.map(
    ({ traceId, spanId, parentSpanId }) =>
      isId(traceId, 16) && isId(spanId, 8) && (parentSpanId.length === 0 || parentSpanId.length === 8),
  );
}

function checkCut(subject: Subject, by: string, spans: readonly SpanSlice[], { kept, bytes }: Cut): void {
  const expected = spans.filter((_, index) => kept[index] === 1);
  const scan = subject.scanTraces(bytes);
  if (!scan.ok) throw new Misbehaviour(`${by}: framing`, scan.message);
  const cut = calmly('indexSpans of a cut', () => subject.indexSpans(bytes));
  if (JSON.stringify(cut) === JSON.stringify(expected)) return;
  throw new Misbehaviour(`${by}: spans`, `${cut.length} spans, not the ${expected.length} that were kept`);
}

function fromChangedJson(subject: Subject, json: Uint8Array, random: Random): Uint8Array[] {
  const payloads: Uint8Array[] = [];
  for (let count = 0; count < CHANGED_TEXTS; count++) {
    const text = changedJson(json, random);
    const payload = encodeJson(subject, text);
    if (payload !== undefined) payloads.push(payload);
    const lenient = calmly('encodeSpansOfJson', () => subject.encodeSpansOfJson(text));
    if (!lenient.ok && payload !== undefined) throw new Misbehaviour('JSON: lenient', lenient.message);
    const rest = lenient.ok && payload === undefined ? restOf(subject, lenient.payload) : undefined;
    if (rest !== undefined) payloads.push(rest);
  }
  return payloads;
}

/** Values that take another's place: of each kind, and at the limits of its range. */
const JSON_VALUES = [
  'null',
  'true',
  '-0',
  '1e400',
  '18446744073709551616',
  '"9223372036854775807"',
  '"\\ud800"',
  '"\\u00e9"',
  '""',
  '[]',
  '{}',
  '[[],{}]',
  '1.5',
  '"Infinity"',
] as const;

/** As text, at its values; or as bytes, anywhere. */
export function changedJson(json: Uint8Array, random: Random): Uint8Array {
  if (random.chance(0.4)) return changeBytes(json, random, () => Buffer.from(JSON_VALUES.join()));
  const text = Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString('utf8');
  const from = text.indexOf(':', random.below(text.length)) + 1;
  const end = /[,}\]]/g;
  end.lastIndex = from;
  const to = end.exec(text)?.index ?? text.length;
  return Buffer.from(text.slice(0, from) + random.pick(JSON_VALUES) + text.slice(to));
}

function encodeJson(subject: Subject, text: Uint8Array): Uint8Array | undefined {
  const encoded = calmly('encodeTracesJsonNow', () => subject.encodeTracesJsonNow(text));
  if (!encoded.ok) return undefined;
  const scan = calmly('scanTraces of JSON', () => subject.scanTraces(encoded.payload));
  if (!scan.ok) throw new Misbehaviour('JSON: framing', scan.message);
  return encoded.payload;
}

function refusalOf(subject: Subject, text: Uint8Array): string {
  const encoded = subject.encodeTracesJsonNow(text);
  return encoded.ok ? '' : encoded.message;
}

/** Nothing here may throw. */
function calmly<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new Misbehaviour(`${what} throws`, messageOf(error));
  }
}
