import { randomBytes, randomFillSync } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { bytesOfFields, leaf, raw, varint } from '../fuzz/field-tree.ts';
import type { Field } from '../fuzz/field-tree.ts';

/* Bodies of attacks, made as they are sent: a request needs no more than some lines to be large. */

const gzipAsync = promisify(gzip);

export const MIB = 1024 * 1024;
/** `receiver.max_request_body_size` as it is by default. */
export const LARGEST_BODY = 64 * MIB;

/** Trace ids begin with it, so that the sink knows whose spans they are. */
export const GOOD_MARK = 0x90909090;
export const BAD_MARK = 0xbdbdbdbd;

const RESOURCE_SPANS = 1;
const SCOPE_SPANS = 2;
const SPAN = 2;

/** Fast: what it is compressed to matters little. */
export function gzipped(body: Uint8Array): Promise<Buffer> {
  return gzipAsync(body, { level: 1 });
}

/** A request with spans that stand there as bytes, tags and lengths among them. */
export function requestOfBytes(spans: Uint8Array, resource: readonly Field[] = []): Buffer {
  const scopeSpans = withLength(SCOPE_SPANS, [spans]);
  const before = bytesOfFields(resource);
  return Buffer.concat(withLength(RESOURCE_SPANS, [before, ...scopeSpans]));
}

/** Copies nothing: bodies are large. */
function withLength(number: number, parts: readonly Uint8Array[]): Uint8Array[] {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return [Uint8Array.from([...varint(number * 8 + 2), ...varint(length)]), ...parts];
}

/** Tag, length, 16 bytes of trace id and 8 of span id with theirs. */
const SMALLEST_SPAN_BYTES = 30;

/** The smallest spans that are valid, each in a trace of its own, or all in one. */
export function smallestSpans(count: number, traces: 'own traces' | 'one trace'): Buffer {
  const bytes = Buffer.alloc(count * SMALLEST_SPAN_BYTES);
  const header = Buffer.from('121c0a10', 'hex');
  const ids = randomBytes(24);
  // Parts that differ and cannot be guessed, so that they do not compress to nothing.
  const numbers = randomFillSync(Buffer.alloc(count * 4));
  for (let index = 0, at = 0; index < count; index++, at += SMALLEST_SPAN_BYTES) {
    header.copy(bytes, at);
    ids.copy(bytes, at + 4, 0, 16);
    if (traces === 'own traces') {
      numbers.copy(bytes, at + 12, 4 * index, 4 * index + 4);
      bytes.writeUInt32BE(index, at + 16);
    }
    bytes[at + 20] = 0x12;
    bytes[at + 21] = 8;
    ids.copy(bytes, at + 22, 16, 24);
    bytes.writeUInt32BE(index, at + 26);
  }
  return bytes;
}

/** A span of two bytes, which has no ids. */
const EMPTY_SPAN = Buffer.from('1200', 'hex');

/** Spans that are nothing, and a valid one. */
export function emptySpans(count: number): Buffer {
  return requestOfBytes(Buffer.concat([Buffer.alloc(2 * count, EMPTY_SPAN), smallestSpans(1, 'own traces')]));
}

/** A resource of so many bytes, around spans of a trace each. */
export function largeResource(resourceBytes: number, traces: number): Buffer {
  // Tags and lengths around it take less.
  const text = new Uint8Array(resourceBytes - 64).fill(0x61);
  const attribute = bytesOfFields([leaf(1, Buffer.from('a')), leaf(2, bytesOfFields([leaf(1, text)]))]);
  return requestOfBytes(smallestSpans(traces, 'own traces'), [leaf(1, bytesOfFields([leaf(1, attribute)]))]);
}

/** Ids that begin with a mark. */
function markedIds(mark: number, index: number): { traceId: Buffer; spanId: Buffer } {
  const traceId = Buffer.alloc(16);
  traceId.writeUInt32BE(mark, 0);
  traceId.writeUInt32BE(index, 12);
  const spanId = Buffer.alloc(8);
  spanId.writeUInt32BE(mark, 0);
  spanId.writeUInt32BE(index, 4);
  return { traceId, spanId };
}

/**
 * Requests of usual spans, each the root of a trace that the sink knows by its mark and number.
 * @param textBytes of an attribute of each
 */
export function markedTraces(mark: number, first: number, count: number, textBytes = 8): Buffer {
  const now = BigInt(Date.now()) * 1_000_000n;
  const text = new Uint8Array(textBytes).fill(0x61);
  const spans = Array.from({ length: count }, (_, index): Field => {
    const { traceId, spanId } = markedIds(mark, first + index);
    const attribute = [leaf(1, Buffer.from('user.id')), leaf(2, bytesOfFields([leaf(1, text)]))];
    const fields = [leaf(1, traceId), leaf(2, spanId), leaf(5, Buffer.from('chat'))];
    const times = [raw(7, 1, fixed64(now)), raw(8, 1, fixed64(now + 1_000_000n))];
    return leaf(SPAN, bytesOfFields([...fields, ...times, leaf(9, bytesOfFields(attribute))]));
  });
  return requestOfBytes(bytesOfFields(spans));
}

/** The same of one good trace, in JSON of about so many bytes. */
export function goodJson(index: number, bytes: number): Buffer {
  const { traceId, spanId } = markedIds(GOOD_MARK, index);
  const attribute = { key: 'some.attribute', value: { stringValue: 'a value of some length, as they have' } };
  const attributes = Array.from({ length: bytes / JSON.stringify(attribute).length }, () => attribute);
  const span = { traceId: traceId.toString('hex'), spanId: spanId.toString('hex'), name: 'chat', attributes };
  return Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }));
}

/** JSON that has to be converted to its end before it is refused: its spans have no ids. */
export function uselessJson(bytes: number): Buffer {
  const span =
    '{"name":"chat","attributes":[{"key":"k","value":{"intValue":"7"}},{"key":"l","value":{"boolValue":true}}]},';
  const spans = span.repeat(bytes / span.length).slice(0, -1);
  return Buffer.from(`{"resourceSpans":[{"scopeSpans":[{"spans":[${spans}]}]}]}`);
}

function fixed64(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}
