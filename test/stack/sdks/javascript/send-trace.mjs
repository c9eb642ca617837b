// Sends one trace with all that the SDK can put into spans, and prints each span as a line of JSON. Where to, and
// with which certificates, say OpenTelemetry's own variables alone.
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { startNodeSdk } from '@opentelemetry/sdk-node';

const sdk = startNodeSdk();
const tracer = trace.getTracer('send-trace', '1.2.3');
const spans = [];

/** Nanoseconds behind the second that all spans begin in. */
const at = (nanoseconds) => [1_700_000_000, nanoseconds];

function start(name, parent, nanoseconds, options = {}) {
  const context = parent === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, parent);
  const span = tracer.startSpan(name, { startTime: at(nanoseconds), ...options }, context);
  spans.push(span);
  return span;
}

const attributes = {
  text: 'Grüße, 世界 \u{1f30d}',
  'text.empty': '',
  'text.long': '0123456789'.repeat(2_000),
  'bool.true': true,
  'bool.false': false,
  'int.zero': 0,
  'int.negative': -1,
  'int.largest': Number.MAX_SAFE_INTEGER,
  'int.smallest': Number.MIN_SAFE_INTEGER,
  double: 0.1,
  'double.large': 123_456_789_012.5,
  'double.tiny': Number.MIN_VALUE,
  'array.text': ['a', '', 'ü'],
  'array.bool': [true, false],
  'array.int': [1, -2, Number.MAX_SAFE_INTEGER],
  'array.double': [0.5, -2.25],
  'array.empty': [],
  map: { nested: { list: [1, 'two', 3.5], flag: false } },
};
const elsewhere = {
  traceId: '0af7651916cd43dd8448eb211c80319c',
  spanId: 'b7ad6b7169203331',
  traceFlags: TraceFlags.SAMPLED,
  isRemote: true,
};

const root = start('root', undefined, 0, {
  kind: SpanKind.SERVER,
  attributes: { 'http.route': '/ask/{id}' },
});
const model = start('chat model', root, 1_001, { kind: SpanKind.CLIENT, attributes });
model.addEvent('first token', { index: 0, text: 'Hé', scores: [0.25, 0.75] }, at(1_777));
model.addEvent('without attributes', at(1_778));
model.setStatus({ code: SpanStatusCode.OK });
model.end(at(500_000_003));
const links = [
  { context: elsewhere, attributes: { 'link.reason': 'retry', 'link.count': 3 } },
  { context: model.spanContext() },
];
const tool = start('tool', root, 500_000_100, { links });
tool.recordException(new RangeError('no such table: weather'), at(500_000_300));
tool.setStatus({ code: SpanStatusCode.ERROR, message: 'query failed' });
tool.end(at(500_000_500));
root.end(at(999_999_999));

await sdk.shutdown();

const nanoseconds = ([seconds, rest]) => String(BigInt(seconds) * 1_000_000_000n + BigInt(rest));
for (const span of spans) {
  const { traceId, spanId } = span.spanContext();
  const { code, message = '' } = span.status;
  const printed = {
    traceId,
    spanId,
    parentSpanId: span.parentSpanContext?.spanId ?? '',
    name: span.name,
    kind: `SPAN_KIND_${SpanKind[span.kind]}`,
    start: nanoseconds(span.startTime),
    end: nanoseconds(span.endTime),
    attributes: span.attributes,
    events: span.events.map((event) => ({
      name: event.name,
      time: nanoseconds(event.time),
      attributes: event.attributes ?? {},
    })),
    links: span.links.map((link) => ({
      traceId: link.context.traceId,
      spanId: link.context.spanId,
      attributes: link.attributes ?? {},
    })),
    status: { code: `STATUS_CODE_${SpanStatusCode[code]}`, message },
  };
  process.stdout.write(`${JSON.stringify(printed)}\n`);
}
