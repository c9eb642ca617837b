import zlib from 'node:zlib';
import { GOOD_IDS, join, len, requestOf } from '../otlp/bytes.ts';
import { A, JSON_BODY, JSON_TYPE } from './client-report.ts';
import type { Report } from './client-report.ts';

const PROTOBUF = Buffer.from(requestOf(join(GOOD_IDS, len(5, 'a'))));

/** What has a form of its own at the door: paths, methods and headers. */
export const HEADS: readonly Report[] = [
  {
    sends: 'a content type with parameters',
    reported: 'open-telemetry/opentelemetry-collector#7452, langfuse/langfuse#5584',
    request: { headers: { 'content-type': 'application/json;v=1; charset=UTF-8' }, body: JSON_BODY },
    stored: [A],
  },
  {
    sends: 'a charset with protobuf, as OkHttp adds it',
    reported: 'aws/chalice#306',
    request: { headers: { 'content-type': 'application/x-protobuf; charset=utf-8' }, body: PROTOBUF },
    stored: [A],
  },
  {
    sends: 'application/protobuf',
    reported: 'jgaskins/opentelemetry#1',
    request: { headers: { 'content-type': 'application/protobuf' }, body: PROTOBUF },
    stored: [A],
    headers: { 'content-type': 'application/x-protobuf' },
  },
  {
    sends: 'JSON where protobuf was chosen, and says so',
    reported:
      'DEVtheOPS/opencode-plugin-otel#50, vectordotdev/vector#26456, mlflow/mlflow#22408 (Gemini CLI)',
    request: { headers: JSON_TYPE, body: JSON_BODY },
    stored: [A],
    headers: { 'content-type': 'application/json' },
  },
  {
    sends: 'text/plain, of a beacon: a page of anybody may send that without being asked (CORS)',
    reported:
      'open-telemetry/opentelemetry-js#2321, open-telemetry/opentelemetry-js#2500, PostHog/posthog-js#2906, Mesh-LLM/mesh-llm#1356',
    request: { headers: { 'content-type': 'text/plain;charset=UTF-8' }, body: JSON_BODY },
    stored: [],
    status: 415,
    message: /supported are application\/x-protobuf and application\/json/,
  },
  {
    sends: 'the question of a browser before it: pages may not send to the relay',
    reported:
      'open-telemetry/opentelemetry-js#3062, open-telemetry/opentelemetry-js#2336, choojs/nanobeacon#3',
    request: {
      method: 'OPTIONS',
      headers: { origin: 'http://page', 'access-control-request-method': 'POST', accept: '*/*' },
    },
    stored: [],
    status: 405,
    headers: { allow: 'POST' },
    message: /OPTIONS is not supported/,
  },
  {
    sends: 'the content coding identity',
    reported: 'open-telemetry/opentelemetry-java#8277',
    request: { headers: { 'content-encoding': 'identity' }, body: PROTOBUF },
    stored: [A],
  },
  {
    sends: 'gzip in chunks, as the Collector and SDKs',
    reported:
      'open-telemetry/opentelemetry-js#2876, elastic/apm-server#9036, Metabuilder-Labs/tokenjam#365, NOFireAI/ravel#115',
    request: { headers: { 'content-encoding': 'gzip' }, body: zlib.gzipSync(PROTOBUF), isChunked: true },
    stored: [A],
  },
  {
    sends: 'bare deflate data that it calls gzip: no name for it, and so no promise what it is',
    reported: 'open-telemetry/opentelemetry-swift#212, open-telemetry/opentelemetry-swift#223',
    request: { headers: { 'content-encoding': 'gzip' }, body: zlib.deflateRawSync(PROTOBUF) },
    stored: [],
    status: 400,
    message: /cannot be decompressed as gzip/,
  },
  {
    sends: 'chunks without a length, as .NET, Envoy and Claude Code',
    reported: 'fluent/fluent-bit#7678, fluent/fluent-bit#8192, opendatahub-io/agentic-ci#191',
    request: { headers: JSON_TYPE, body: JSON_BODY, isChunked: true },
    stored: [A],
  },
  {
    sends: 'Expect: 100-continue, as libcurl from a MiB on',
    reported: 'openzipkin-attic/docker-zipkin#114, DataDog/dd-trace-php#651, getsentry/sentry-php#140',
    request: { headers: { expect: '100-continue' }, body: PROTOBUF },
    stored: [A],
  },
  {
    sends: 'a slash behind the path',
    reported: 'getsentry/sentry-docs#14850',
    request: { path: '/v1/traces/', body: PROTOBUF },
    stored: [A],
  },
  ...['/', '/v1/traces/v1/traces', '/v1/v1/traces', '/v1/metrics', '/v1/trace'].map((path) => ({
    sends: `to ${path}: a mistake in its configuration, which it has to be told`,
    reported:
      'open-telemetry/opentelemetry-dotnet#6049, open-telemetry/opentelemetry-erlang#382, open-telemetry/opentelemetry.io#2406, open-telemetry/opentelemetry.io#3627, langchain-ai/langsmith-docs#897, SirAllap/agentglass#365 (Claude Code), apollographql/supergraph-demo-fed2#44',
    request: { path, body: PROTOBUF },
    stored: [],
    status: 404,
    message: /traces are taken at POST \/v1\/traces/,
  })),
  {
    sends: 'a health check: the admin port has one',
    reported: 'Augustas11/macprovider#521, timescale/promscale#1378',
    request: { method: 'GET', headers: { accept: '*/*' } },
    stored: [],
    status: 405,
    headers: { allow: 'POST' },
    message: /GET is not supported/,
  },
  {
    sends: 'gRPC through a proxy that speaks HTTP/1.1',
    reported: 'open-telemetry/opentelemetry-java-instrumentation#4384, google-gemini/gemini-cli#3707',
    request: {
      path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
      headers: { 'content-type': 'application/grpc' },
      body: Buffer.concat([Buffer.alloc(5), PROTOBUF]),
    },
    stored: [],
    status: 404,
    message: /traces are taken at POST \/v1\/traces \(OTLP\/HTTP\)/,
  },
];
