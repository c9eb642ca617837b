import { GOOD_IDS, hex, join, len, requestOf, SPAN_ID, tag, TRACE_ID } from '../otlp/bytes.ts';
import { A, IDS, JSON_BODY, JSON_TYPE } from './client-report.ts';
import type { Report } from './client-report.ts';

/** A body in JSON with these spans, of which the last has nothing that is odd. */
const spans = (...texts: string[]) =>
  Buffer.from(
    `{"resourceSpans":[{"scopeSpans":[{"spans":[${[...texts, `{${IDS},"name":"good"}`].join()}]}]}]}`,
  );
const GOOD = { name: 'good' };
/** A span in JSON with these members, which is stored like that, with ids. */
const span = (members: string) => `{${IDS},"name":"a",${members}}`;
const attribute = (value: string) => span(`"attributes":[{"key":"k","value":${value}}]`);
const stored = (...members: object[]) => members.map((each) => Object.assign({}, A, each));
const withValue = (value: object) => ({ attributes: [{ key: 'k', value }] });

/** Values that fit their fields or do not, in JSON. */
export const VALUES: readonly Report[] = [
  {
    sends: 'integers as numbers, and as strings',
    reported:
      'open-telemetry/opentelemetry-rust#1905, coze-dev/coze-loop#649, langfuse/langfuse#14068, Necmttn/ax#850 (Claude Code)',
    request: {
      headers: JSON_TYPE,
      body: spans(attribute('{"intValue":83729}'), attribute('{"intValue":"83729"}')),
    },
    stored: [...stored(withValue({ intValue: '83729' }), withValue({ intValue: '83729' })), GOOD],
  },
  {
    sends: 'times as numbers, with a fraction or an exponent that come to whole ones',
    reported: 'openobserve/openobserve#3150, BrunoBonacci/mulog#135, open-telemetry/opentelemetry-js#5065',
    request: {
      headers: JSON_TYPE,
      body: spans(
        span('"startTimeUnixNano":1544712660000000001,"endTimeUnixNano":"1544712661000000001"'),
        span('"startTimeUnixNano":1.54471266e18,"endTimeUnixNano":1544712661000000000.0'),
      ),
    },
    stored: [
      ...stored(
        { startTimeUnixNano: '1544712660000000001', endTimeUnixNano: '1544712661000000001' },
        { startTimeUnixNano: '1544712660000000000', endTimeUnixNano: '1544712661000000000' },
      ),
      GOOD,
    ],
  },
  {
    sends: 'the halves of a time, as a library of JavaScript kept it',
    reported: 'open-telemetry/opentelemetry-js#4202',
    request: { headers: JSON_TYPE, body: spans(span('"startTimeUnixNano":{"low":1027370000,"high":395}')) },
    stored: [GOOD],
    message: /spans\[0\]\.startTimeUnixNano: expected an unsigned 64-bit integer/,
  },
  {
    sends: 'null for what JSON has no number for',
    reported: 'vercel/ai#6546, open-telemetry/opentelemetry-js#4435, pydantic/logfire-js#292',
    request: { headers: JSON_TYPE, body: spans(attribute('{"doubleValue":null}')) },
    stored: [...stored(withValue({})), GOOD],
  },
  {
    sends: 'the words for it',
    reported: 'open-telemetry/opentelemetry-go#8775, grafana/grafana#122504',
    request: {
      headers: JSON_TYPE,
      body: spans(attribute('{"doubleValue":"NaN"}'), attribute('{"doubleValue":"-Infinity"}')),
    },
    stored: [...stored(withValue({ doubleValue: 'NaN' }), withValue({ doubleValue: '-Infinity' })), GOOD],
  },
  {
    sends: 'values that are empty, and attributes without one',
    reported:
      'vercel/ai#16323, speakeasy-api/gram#4819, open-telemetry/opentelemetry-specification#4392, open-telemetry/opentelemetry-dotnet#6149',
    request: {
      headers: JSON_TYPE,
      body: spans(
        attribute('{"arrayValue":{"values":[{},{"stringValue":"stop"}]}}'),
        attribute('{}'),
        attribute('null'),
      ),
    },
    stored: [
      ...stored(withValue({ arrayValue: { values: [{}, { stringValue: 'stop' }] } }), withValue({})),
      { attributes: [{ key: 'k' }] },
      GOOD,
    ],
  },
  {
    sends: 'everything that is empty or nothing, as Rust and PHP',
    reported:
      'open-telemetry/opentelemetry-rust#1763, opensearch-project/data-prepper#2185, langwatch/langwatch#5937',
    request: {
      headers: JSON_TYPE,
      body: spans(
        span(
          `"parentSpanId":"","traceState":"","flags":0,"kind":0,"droppedAttributesCount":0,"attributes":[],"events":null,"links":[{${IDS}}],"status":{"message":"","code":0}`,
        ),
      ),
    },
    stored: [...stored({ links: [{ traceId: TRACE_ID, spanId: SPAN_ID }] }), GOOD],
  },
  {
    sends: 'ids in base64, names of enum values, the list of before OTLP 0.15',
    reported:
      'open-telemetry/opentelemetry-collector#3195, open-telemetry/opentelemetry-go#1939, MindfulSoftwareLLC/dartastic_opentelemetry#60, open-telemetry/opentelemetry-zig#54',
    request: {
      headers: JSON_TYPE,
      body: Buffer.from(
        '{"resourceSpans":[{"instrumentationLibrarySpans":[{"instrumentationLibrary":{"name":"l"},"spans":[{"traceId":"cgXI6uihz643E6Zqq7Nl4w==","spanId":"+iPdFTeJDX8=","kind":"SPAN_KIND_INTERNAL","status":{"code":"STATUS_CODE_OK"}}]}]}]}',
      ),
    },
    stored: [
      {
        traceId: '7205c8eae8a1cfae3713a66aabb365e3',
        spanId: 'fa23dd1537890d7f',
        kind: 1,
        status: { code: 1 },
      },
    ],
  },
  {
    sends: 'names in snake_case, with ids in base64',
    reported:
      'open-telemetry/opentelemetry-cpp#2157, open-telemetry/opentelemetry-cpp#1681, open-telemetry/opentelemetry-collector#8720',
    request: {
      headers: JSON_TYPE,
      body: Buffer.from(
        '{"resource_spans":[{"scope_spans":[{"spans":[{"trace_id":"Z6z8LqVvEI+kU1/Ci6mXBQ==","span_id":"gMEgDJS+EXg=","start_time_unix_nano":1697982593201336000}],"schema_url":"u"}]}]}',
      ),
    },
    stored: [
      {
        traceId: '67acfc2ea56f108fa4535fc28ba99705',
        spanId: '80c1200c94be1178',
        startTimeUnixNano: '1697982593201336000',
      },
    ],
  },
  {
    sends: 'ids in base64 of their hexadecimal digits: no id has 32 bytes',
    reported: 'open-telemetry/opentelemetry-swift#537, open-telemetry/opentelemetry-php#868',
    request: {
      headers: JSON_TYPE,
      body: spans('{"traceId":"OWUyYTNkYzA2MDc0YjE3NTQwZDU0ZGU0ZTUxZTczNWY=","spanId":"00"}'),
    },
    stored: [GOOD],
    message: /spans\[0\]\.traceId: expected hexadecimal digits/,
  },
  {
    sends: 'ids whose bytes it took for text',
    reported: 'vectordotdev/vector#23975',
    request: {
      headers: JSON_TYPE,
      body: spans(String.raw`{"traceId":"\u00036\u001f3A\u001e\ufffd\ufffd","spanId":"S\ufffd8"}`),
    },
    stored: [GOOD],
    message: /spans\[0\]\.traceId: expected hexadecimal digits/,
  },
  {
    sends: 'a count below zero: no number is right in its place',
    reported: 'open-telemetry/opentelemetry-java#7135',
    request: { headers: JSON_TYPE, body: spans(span('"droppedAttributesCount":-1')) },
    stored: [GOOD],
    message: /droppedAttributesCount: expected an unsigned 32-bit integer.*-1/,
  },
  {
    sends: 'an attribute with two values',
    reported: 'VictoriaMetrics/VictoriaTraces#134',
    request: { headers: JSON_TYPE, body: spans(attribute('{"stringValue":"test-service","intValue":10}')) },
    stored: [GOOD],
    message: /expected no other member beside stringValue/,
  },
  {
    sends: 'truth as text, and a trace state that W3C would not pass: they are what was sent',
    reported: 'open-telemetry/opentelemetry-erlang#990, grafana/xk6-client-tracing#40',
    request: {
      headers: JSON_TYPE,
      body: spans(span('"traceState":"x:y","attributes":[{"key":"k","value":{"stringValue":"true"}}]')),
    },
    stored: [...stored({ traceState: 'x:y', ...withValue({ stringValue: 'true' }) }), GOOD],
  },
];

/** Bodies that are something else, or hold something else, as a whole. */
export const BODIES: readonly Report[] = [
  {
    sends: 'JSON about something else',
    reported: 'open-telemetry/opentelemetry-collector#10546, open-telemetry/opentelemetry-collector#9139',
    request: { headers: JSON_TYPE, body: Buffer.from('{"message":"hello"}') },
    stored: [],
    message: /no span was found/,
  },
  {
    sends: 'a list of spans of another format',
    reported: 'open-telemetry/opentelemetry-php#265',
    request: { headers: JSON_TYPE, body: Buffer.from(`[{${IDS}}]`) },
    stored: [],
    status: 400,
    message: /expected an object/,
  },
  {
    sends: 'logs in protobuf, whose fields have the numbers of those of spans',
    reported: 'langfuse/langfuse#15707',
    request: {
      body: Buffer.from(
        requestOf(join(tag(1, 1), hex('00'.repeat(8)), tag(2, 0), hex('09'), len(5, len(1, 'text')))),
      ),
    },
    stored: [],
    status: 400,
    message: /no trace id/,
  },
  {
    sends: 'several requests in lines',
    reported: 'jaegertracing/jaeger#5293, jaegertracing/jaeger-ui#2225',
    request: { headers: JSON_TYPE, body: Buffer.from(`${JSON_BODY.toString()}\n${JSON_BODY.toString()}\n`) },
    stored: [],
    status: 400,
    message: /expected nothing more, at byte/,
  },
  {
    sends: 'a byte order mark before it and a line end behind it',
    reported: 'fastify/secure-json-parse#5, vectordotdev/vrl#1303',
    request: { headers: JSON_TYPE, body: Buffer.from(`\ufeff${JSON_BODY.toString()}\r\n`) },
    stored: [A],
  },
  {
    sends: 'text that is cut within a character, or is none',
    reported:
      'open-telemetry/opentelemetry-ruby#1649, open-telemetry/opentelemetry-erlang#476, open-telemetry/opentelemetry-php#1381, open-telemetry/opentelemetry-cpp-contrib#247, datadog-labs/trajectory#77',
    request: {
      body: Buffer.from(requestOf(join(GOOD_IDS, len(5, hex('61e282'))), join(GOOD_IDS, len(5, 'good')))),
    },
    stored: [{ name: 'a\ufffd' }, GOOD],
  },
  {
    sends: 'a parent of zeros at the root',
    reported:
      'open-telemetry/opentelemetry-java#1164, open-telemetry/opentelemetry-dotnet#1288, open-telemetry/opentelemetry-cpp#1107, wandb/weave#7126, tobert/otel-cli#25',
    request: { body: Buffer.from(requestOf(join(GOOD_IDS, len(4, hex('00'.repeat(8))), len(5, 'a')))) },
    stored: [{ ...A, parentSpanId: '0000000000000000' }],
  },
  {
    sends: 'ids that are too long, of zeros, or too short',
    reported: 'planetf1/otelite#70, pinpoint-apm/pinpoint#14067, datalust/seq-tickets#2552',
    request: {
      body: Buffer.from(
        requestOf(
          join(len(1, hex(TRACE_ID)), len(2, hex(`${SPAN_ID}00`))),
          join(len(1, hex('00'.repeat(16))), len(2, hex(SPAN_ID))),
          join(len(1, hex(TRACE_ID.slice(16))), len(2, hex(SPAN_ID))),
          join(GOOD_IDS, len(5, 'good')),
        ),
      ),
    },
    stored: [GOOD],
    message: /^3 of 4 spans were left out, with ids that cannot be; .* span id of 9 bytes/,
  },
];
