import { randomBytes } from 'node:crypto';
import { Writer } from 'protobufjs';

/*
 * Traces of odd shapes, whose spans are numbered: the ids tell the number of trace and span, so that millions of them
 * can be told apart without keeping any.
 */

export type Shape = 'one trace' | 'lone spans' | 'large spans' | 'rootless';

/** Of a large span. */
const LARGE = 10 * 1000 * 1000;
/** Spans of a request, of those that are not large. */
const AT_ONCE = 1000;

/** What a shape has in so many spans. */
export function tracesOf(shape: Shape, spans: number): number {
  switch (shape) {
    case 'one trace':
      return 1;
    case 'lone spans':
      return spans;
    default:
      return spans / 2;
  }
}

/** Requests with spans 0 to `spans` - 1, in that order: of each trace the root last, where it has one. */
export function* requestsOf(shape: Shape, spans: number): Iterable<{ body: Uint8Array; spans: number }> {
  const traces = tracesOf(shape, spans);
  const ofTrace = spans / traces;
  const text = shape === 'large spans' ? randomBytes(LARGE * 0.75).toString('base64') : 'short';
  const atOnce = shape === 'large spans' ? 1 : AT_ONCE;
  for (let from = 0; from < spans; from += atOnce) {
    const scope = Writer.create();
    const end = Math.min(from + atOnce, spans);
    for (let span = from; span < end; span++) {
      const isRoot = shape !== 'rootless' && span % ofTrace === ofTrace - 1;
      scope.uint32(tag(2)).bytes(spanOf(Math.floor(span / ofTrace), span, isRoot, text));
    }
    const resource = Writer.create().uint32(tag(2)).bytes(scope.finish()).finish();
    yield { body: Writer.create().uint32(tag(1)).bytes(resource).finish(), spans: end - from };
  }
}

/** The number in an id. */
export function numberIn(id: Uint8Array): number {
  return Buffer.from(id.buffer, id.byteOffset, id.length).readUInt32BE(id.length - 4);
}

function idOf(number: number, length: number): Buffer {
  const id = Buffer.alloc(length, 0x5a);
  id.writeUInt32BE(number, length - 4);
  return id;
}

const PARENT = Buffer.alloc(8, 0xa5);
const BEGIN = 1_700_000_000;

/** Fields of Span: trace_id = 1, span_id = 2, parent_span_id = 4, name = 5, times = 7 and 8, attributes = 9. */
function spanOf(trace: number, span: number, isRoot: boolean, text: string): Uint8Array {
  const writer = Writer.create();
  writer.uint32(tag(1)).bytes(idOf(trace, 16));
  writer.uint32(tag(2)).bytes(idOf(span, 8));
  if (!isRoot) writer.uint32(tag(4)).bytes(PARENT);
  writer.uint32(tag(5)).string('a span');
  for (const field of [7, 8]) writer.uint32((field << 3) | 1).fixed64(BEGIN);
  // KeyValue.key = 1, value = 2; AnyValue.string_value = 1.
  const value = Writer.create().uint32(tag(1)).string(text).finish();
  writer
    .uint32(tag(9))
    .bytes(Writer.create().uint32(tag(1)).string('text').uint32(tag(2)).bytes(value).finish());
  return writer.finish();
}

/** Of a field with bytes in it. */
function tag(field: number): number {
  return (field << 3) | 2;
}
