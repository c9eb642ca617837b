import { CLOSE_ARRAY, CLOSE_OBJECT, JsonMisfit, JsonReader, OPEN_ARRAY, OPEN_OBJECT } from './json-reader.ts';
import { REQUEST } from './json-plan.ts';
import type { FieldPlan, MessagePlan } from './json-plan.ts';
import { wordsOf, writeScalar } from './json-scalars.ts';
import { skipValue } from './json-skip.ts';
import { ProtobufWriter } from './protobuf-writer.ts';
import { MAX_DEPTH } from './schema.ts';

export type JsonResult = { ok: true; payload: Uint8Array<ArrayBuffer> } | { ok: false; message: string };

/** What could be made of a body whose spans may have faults. */
export type LenientJsonResult =
  | {
      ok: true;
      payload: Uint8Array<ArrayBuffer>;
      /** Spans that were left out, as a value in them, or around them, does not fit its field. */
      unreadableSpanCount: number;
      /** The first such value, in words; there may be one though no span was lost. */
      unreadable?: string;
      /** Nothing was in it that is not in an empty request. */
      isEmpty: boolean;
    }
  | { ok: false; message: string };

/**
 * OTLP/JSON (opentelemetry-proto specification.md, "JSON Protobuf Encoding") to protobuf in one pass, fields in
 * the order in which the body has them, numbers exact.
 *
 * Strict: the first value that does not fit its field is an error that names its place and what is expected, and
 * so are a name that comes twice and two members of one oneof. Names that are not in the schema are ignored, null
 * means absent. Beside what the specification lets senders write, the names of proto/ and of before OTLP 0.15 are
 * read, and those of enum values. Ids may have any length here; `scanTraces` judges them. Never throws. Holds the thread
 * while it runs, and needs about the memory of the body, as protobuf is shorter than JSON.
 */
export function encodeTracesJsonNow(body: Uint8Array): JsonResult {
  return encode(body, true);
}

/**
 * The same, but a value that does not fit costs its span; and one in a resource, in a scope or beside them, the spans
 * under these. Text that is broken, by half a surrogate pair or as it is no UTF-8, becomes text that is no UTF-8: what
 * is made of it `siftTraces` decides.
 */
export function encodeSpansOfJson(body: Uint8Array): LenientJsonResult {
  return encode(body, false);
}

function encode(body: Uint8Array, isStrict: boolean): LenientJsonResult {
  try {
    return new Encoder(new JsonReader(withoutMark(body), !isStrict), isStrict).encode();
  } catch (error) {
    if (!(error instanceof JsonMisfit)) throw error;
    return refused(error.message);
  }
}

/** Readers may pass over a byte order mark (RFC 8259, 8.1). */
function withoutMark(body: Uint8Array): Uint8Array {
  const isMarked = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf;
  return isMarked ? body.subarray(3) : body;
}

function refused(message: string): LenientJsonResult {
  return { ok: false, message: `not an ExportTraceServiceRequest in JSON: ${message}` };
}

/** Its methods return false where a value does not fit, and throw where the body is no JSON. */
class Encoder {
  readonly #reader: JsonReader;
  readonly #writer: ProtobufWriter;
  readonly #isStrict: boolean;
  /** Where the value at hand stands. */
  readonly #path: (string | number)[] = [];
  /** The first value that does not fit. */
  #misfit: string | undefined;
  /** Spans so far, left out or not. */
  #spanCount = 0;
  #unreadableSpanCount = 0;
  #hasUnknownNames = false;

  constructor(reader: JsonReader, isStrict: boolean) {
    this.#reader = reader;
    this.#writer = new ProtobufWriter(reader.length);
    this.#isStrict = isStrict;
  }

  encode(): LenientJsonResult {
    const reader = this.#reader;
    const at = reader.position;
    if (!this.#isStrict && this.#takesNothing()) {
      this.#misfit = 'expected an object';
    } else if (!this.#message(REQUEST, 0)) {
      // What is no JSON is told before what is no request.
      reader.seek(at);
      skipValue(reader);
      reader.end();
      return refused(this.#misfit!);
    }
    reader.end();
    const payload = this.#writer.finish();
    return {
      ok: true,
      payload,
      unreadableSpanCount: this.#unreadableSpanCount,
      ...(this.#misfit !== undefined && { unreadable: this.#misfit }),
      isEmpty: payload.length === 0 && !this.#hasUnknownNames && this.#misfit === undefined,
    };
  }

  /** Null or an empty list in place of the request: it is none, and no span can be lost with it. */
  #takesNothing(): boolean {
    const reader = this.#reader;
    if (reader.takesNull()) return true;
    const at = reader.position;
    if (reader.takes(OPEN_ARRAY) && reader.takes(CLOSE_ARRAY)) return true;
    reader.seek(at);
    return false;
  }

  #message(plan: MessagePlan, depth: number): boolean {
    const reader = this.#reader;
    if (!reader.takes(OPEN_OBJECT)) return this.#fails('an object');
    if (reader.takes(CLOSE_OBJECT)) return true;
    const spansBefore = this.#spanCount;
    let seen = 0;
    let chosen: FieldPlan | undefined;
    let old: { field: FieldPlan; at: number } | undefined;
    do {
      reader.name();
      const field = fieldNamed(plan, reader);
      if (field === undefined) {
        this.#hasUnknownNames = true;
        skipValue(reader);
        continue;
      }
      this.#path.push(field.key);
      if ((seen & field.bit) !== 0) return this.#fails('no second value for the same name');
      seen |= field.bit;
      if (field.isOld) {
        old = { field, at: reader.position };
        skipValue(reader);
      } else if (!reader.takesNull()) {
        if (field.inOneof) {
          if (chosen !== undefined) return this.#fails(`no other member beside ${chosen.key}`);
          chosen = field;
        }
        if (!(field.repeated ? this.#array(field, depth) : this.#value(field, depth))) return false;
      }
      this.#path.pop();
    } while (reader.continues(CLOSE_OBJECT));
    return old === undefined || this.#spanCount > spansBefore || this.#old(old, depth);
  }

  /** Goes back to a list under its old name. */
  #old({ field, at }: { field: FieldPlan; at: number }, depth: number): boolean {
    const reader = this.#reader;
    const end = reader.position;
    reader.seek(at);
    this.#path.push(field.key);
    if (!reader.takesNull() && !this.#array(field, depth)) return false;
    this.#path.pop();
    reader.seek(end);
    return true;
  }

  #array(field: FieldPlan, depth: number): boolean {
    const reader = this.#reader;
    if (!reader.takes(OPEN_ARRAY)) return this.#fails('an array');
    if (reader.takes(CLOSE_ARRAY)) return true;
    const last = this.#path.push(0) - 1;
    for (let index = 0; ; index++) {
      this.#path[last] = index;
      if (!(field.leadsToSpans ? this.#element(field, depth) : this.#value(field, depth))) return false;
      if (!reader.continues(CLOSE_ARRAY)) break;
    }
    this.#path.pop();
    return true;
  }

  /** A span, or what leads to spans: where it does not fit it is left out, and false is for strict reading alone. */
  #element(field: FieldPlan, depth: number): boolean {
    const reader = this.#reader;
    const at = reader.position;
    const written = this.#writer.length;
    const place = this.#path.length;
    const spansBefore = this.#spanCount;
    const unreadableBefore = this.#unreadableSpanCount;
    if (this.#value(field, depth)) {
      if (field.message!.isSpan) this.#spanCount++;
      return true;
    }
    if (this.#isStrict) return false;
    reader.seek(at);
    this.#writer.rewind(written);
    // Of a million bad spans none may leave anything here.
    this.#path.length = place;
    const lost = this.#skipSpans(field.message!);
    this.#spanCount = spansBefore + lost;
    this.#unreadableSpanCount = unreadableBefore + lost;
    return true;
  }

  /** Steps over a span or what leads to spans, and counts these. */
  #skipSpans(plan: MessagePlan): number {
    const reader = this.#reader;
    if (plan.isSpan || !reader.takes(OPEN_OBJECT)) {
      skipValue(reader);
      return plan.isSpan ? 1 : 0;
    }
    if (reader.takes(CLOSE_OBJECT)) return 0;
    let count = 0;
    let oldCount = 0;
    do {
      reader.name();
      const field = fieldNamed(plan, reader);
      if (field?.leadsToSpans !== true || !reader.takes(OPEN_ARRAY)) {
        skipValue(reader);
        continue;
      }
      let within = 0;
      if (!reader.takes(CLOSE_ARRAY)) {
        do within += this.#skipSpans(field.message!);
        while (reader.continues(CLOSE_ARRAY));
      }
      if (field.isOld) oldCount += within;
      else count += within;
    } while (reader.continues(CLOSE_OBJECT));
    return count === 0 ? oldCount : count;
  }

  #value(field: FieldPlan, depth: number): boolean {
    const writer = this.#writer;
    if (field.type === 'message') {
      if (depth === MAX_DEPTH) return this.#fails(`at most ${MAX_DEPTH} messages within each other`);
      writer.uint32(field.tag);
      const begin = writer.begin();
      if (!this.#message(field.message!, depth + 1)) return false;
      writer.end(begin);
      return true;
    }
    const at = this.#reader.position;
    if (field.type === 'string' ? this.#string(field) : writeScalar(this.#reader, writer, field)) return true;
    // Described from its beginning, whatever of it was read.
    this.#reader.seek(at);
    return this.#fails(wordsOf(field.type));
  }

  #string(field: FieldPlan): boolean {
    const reader = this.#reader;
    const writer = this.#writer;
    const at = reader.position;
    if (!reader.takesString()) return false;
    if (!field.explicit && reader.textIsEmpty) return true;
    writer.uint32(field.tag);
    // Without escapes it is the same bytes in protobuf, which writes text and bytes alike.
    const bytes = reader.textBytes();
    if (bytes !== undefined) {
      writer.bytes(bytes);
      return true;
    }
    const begin = writer.begin();
    if (!reader.unescape(writer) && this.#isStrict) {
      reader.seek(at);
      return this.#fails('text without lone surrogates');
    }
    writer.end(begin);
    return true;
  }

  /** The next value is not what is expected. Words are made of the first such value alone: there may be millions. */
  #fails(expected: string): false {
    if (this.#misfit !== undefined) return false;
    const place = this.#path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('');
    const found = this.#reader.describe().slice(0, 40);
    this.#misfit = `${place === '' ? '' : `${place.slice(1)}: `}expected ${expected}; found ${found}`;
    return false;
  }
}

/** The field whose name was just read. */
function fieldNamed({ fields }: MessagePlan, reader: JsonReader): FieldPlan | undefined {
  if (reader.escaped) {
    const name = Buffer.from(reader.shortText() ?? '');
    return fields.find(
      (field) => name.equals(field.keyBytes) || field.otherNames.some((one) => name.equals(one)),
    );
  }
  for (const field of fields) if (reader.isText(field.keyBytes)) return field;
  for (const field of fields) for (const name of field.otherNames) if (reader.isText(name)) return field;
  return undefined;
}
