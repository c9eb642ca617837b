import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { isUtf8 } from 'node:buffer';
import { readBoundedJson } from '../bounded-json.ts';
import { exactInteger } from './decimal.ts';
import { BadRequest, ExportTraceServiceResponse, Status } from './schema.ts';

/** The encodings of OTLP/HTTP; an answer has that of its request. */
export type Encoding = 'protobuf' | 'json';

export const CONTENT_TYPE: Readonly<Record<Encoding, string>> = {
  protobuf: 'application/x-protobuf',
  json: 'application/json',
};

/** The values of google.rpc.Code that the relay answers with. */
export const STATUS_CODE = {
  INVALID_ARGUMENT: 3,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;

/**
 * Body of a 200: an ExportTraceServiceResponse. Without `partial` its partial_success stays unset, as OTLP
 * demands of a full success: no bytes, or `{}`.
 */
export function encodeExportResponse(
  encoding: Encoding,
  partial?: { rejectedSpans: number; message: string },
): Buffer {
  if (partial === undefined) return Buffer.from(encoding === 'json' ? '{}' : '');
  const { rejectedSpans, message: errorMessage } = partial;
  if (encoding === 'protobuf') {
    return Buffer.from(
      ExportTraceServiceResponse.encode({ partialSuccess: { rejectedSpans, errorMessage } }).finish(),
    );
  }
  return Buffer.from(
    JSON.stringify({ partialSuccess: { rejectedSpans: String(rejectedSpans), errorMessage } }),
  );
}

/** How a message of another type is named in the details of a Status (google.protobuf.Any). */
const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest';

/**
 * Body of a 4xx or 5xx: a google.rpc.Status with one of STATUS_CODE.
 * @param isBadData a BadRequest in its details says the same: OTLP/HTTP wants it with a 400 (Bad Data)
 */
export function encodeStatus(encoding: Encoding, code: number, message: string, isBadData = false): Buffer {
  const fieldViolations = [{ description: message }];
  if (encoding === 'json') {
    const details = [{ '@type': BAD_REQUEST, fieldViolations }];
    return Buffer.from(JSON.stringify({ code, message, ...(isBadData && { details }) }));
  }
  const details = isBadData
    ? [{ type_url: BAD_REQUEST, value: BadRequest.encode({ fieldViolations }).finish() }]
    : [];
  return Buffer.from(Status.encode({ code, message, details }).finish());
}

/** What the body of an upstream's 200 says; `reason`: it is no answer of an OTLP receiver, and why. */
export type ExportAnswer =
  { ok: true; rejectedSpans: number; message?: string } | { ok: false; reason: string };

/** An answer is a count and a message. What is longer is a page, or an attack: a field for every two bytes takes its time. */
const LARGEST_RESPONSE = 64 * 1024;

/**
 * Reads the body of an upstream's 200. Only a real ExportTraceServiceResponse is a success: in protobuf or JSON by
 * its content type, and either empty (no bytes, or `{}`) or with a partial_success in it. A login page, garbage
 * and JSON about something else are not. Never throws.
 */
export function readExportResponse(contentType: string | undefined, body: Uint8Array): ExportAnswer {
  const mediaType = contentType?.split(';', 1)[0]!.trim().toLowerCase();
  if (body.length > LARGEST_RESPONSE) {
    return {
      ok: false,
      reason: `its body has ${body.length} bytes, more than the ${LARGEST_RESPONSE} that are read of an OTLP response`,
    };
  }
  if (mediaType === CONTENT_TYPE.protobuf) return readProtobuf(body);
  if (mediaType === CONTENT_TYPE.json) return readJson(body);
  return {
    ok: false,
    reason: `its content type is ${mediaType === undefined ? 'missing' : JSON.stringify(mediaType.slice(0, 100))}, not ${CONTENT_TYPE.protobuf} or ${CONTENT_TYPE.json}`,
  };
}

function readProtobuf(body: Uint8Array): ExportAnswer {
  let partial: { rejectedSpans?: number; errorMessage?: string } | undefined;
  try {
    // The reader below takes text that is not UTF-8, numbers without end and fields cut off; this does not.
    ExportTraceServiceResponse.decode(body);
    partial = ProtobufTraceSerializer.deserializeResponse(body)?.partialSuccess;
  } catch {
    return { ok: false, reason: 'its body is not protobuf' };
  }
  if (partial === undefined && body.length > 0) {
    return { ok: false, reason: 'its body is protobuf, but no ExportTraceServiceResponse' };
  }
  return answerOf(partial?.rejectedSpans ?? 0, partial?.errorMessage ?? '');
}

function readJson(body: Uint8Array): ExportAnswer {
  // `{}` is the least that is a success; an empty body is none.
  const json = isUtf8(body) ? readBoundedJson(body) : { kind: 'no JSON' as const };
  if (json.kind === 'unread') return { ok: false, reason: `its body is ${json.problem}` };
  if (json.kind === 'no JSON') return { ok: false, reason: 'its body is not JSON' };
  const foreign = { ok: false, reason: 'its body is JSON, but no ExportTraceServiceResponse' } as const;
  const response = json.value;
  if (!isObject(response)) return foreign;
  const { partialSuccess } = response;
  if (partialSuccess === undefined || partialSuccess === null) {
    return Object.keys(response).every((key) => key === 'partialSuccess') ? answerOf(0, '') : foreign;
  }
  if (!isObject(partialSuccess)) return foreign;
  // int64 is a decimal string in JSON, and a number is allowed.
  const rejected = partialSuccess['rejectedSpans'] ?? 0;
  const message = partialSuccess['errorMessage'] ?? '';
  const count = typeof rejected === 'string' ? exactInteger(rejected) : rejected;
  if (typeof count !== 'number' || typeof message !== 'string') return foreign;
  return answerOf(count, message);
}

function answerOf(rejectedSpans: number, message: string): ExportAnswer {
  if (!Number.isSafeInteger(rejectedSpans) || rejectedSpans < 0) {
    return { ok: false, reason: 'its count of rejected spans is no count' };
  }
  return { ok: true, rejectedSpans, ...(message === '' ? {} : { message }) };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
