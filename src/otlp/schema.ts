import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const PROTO_FOLDER = fileURLToPath(new URL('../../proto/', import.meta.url));

const root = new protobuf.Root();
root.resolvePath = (_importer, file) => join(PROTO_FOLDER, file);
root.loadSync([
  'opentelemetry/proto/collector/trace/v1/trace_service.proto',
  'google/rpc/status.proto',
  'google/rpc/error_details.proto',
]);

/** Reflected message types of the schema in proto/, which ships with the package. */
export const ExportTraceServiceRequest = root.lookupType(
  'opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest',
);
export const ExportTraceServiceResponse = root.lookupType(
  'opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse',
);
export const ResourceSpans = root.lookupType('opentelemetry.proto.trace.v1.ResourceSpans');
export const ScopeSpans = root.lookupType('opentelemetry.proto.trace.v1.ScopeSpans');
export const InstrumentationScope = root.lookupType('opentelemetry.proto.common.v1.InstrumentationScope');
export const Span = root.lookupType('opentelemetry.proto.trace.v1.Span');
export const KeyValue = root.lookupType('opentelemetry.proto.common.v1.KeyValue');
export const AnyValue = root.lookupType('opentelemetry.proto.common.v1.AnyValue');
export const Status = root.lookupType('google.rpc.Status');
export const BadRequest = root.lookupType('google.rpc.BadRequest');

/**
 * How deep messages may nest below the request, which is 0. Google's parsers (C++, Java, Python) stop at 100;
 * what passes here passes there.
 */
export const MAX_DEPTH = 100;
