import { STATUS_CODE } from '../otlp/response.ts';

/** Why a request was not taken, in one word for logs; a fixed set. */
export type RefusalReason =
  | 'not_allowed'
  | 'certificate_ended'
  | 'certificate_early'
  | 'certificate_unreadable'
  | 'certificate_of_ca'
  | 'uri_names'
  | 'spiffe_id'
  | 'malformed'
  | 'path'
  | 'method'
  | 'expectation'
  | 'content_type'
  | 'content_encoding'
  | 'too_large'
  | 'large_resource'
  | 'slow'
  | 'busy'
  | 'undecodable'
  | 'invalid_spans'
  | 'queue_full'
  | 'queue_over_share'
  | 'queue_sender_held'
  | 'queue_sender_searched'
  | 'queue_failed'
  | 'stopping'
  | 'internal';

/** An answer that is not a success, in the words of whoever sends the traces. */
export type Refusal = {
  readonly status: 400 | 403 | 404 | 405 | 408 | 413 | 415 | 417 | 431 | 500 | 501 | 503 | 505;
  readonly reason: RefusalReason;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What follows on the connection cannot be trusted to be a request. */
  readonly endsConnection?: boolean;
};

/**
 * google.rpc.Code of a status. HTTP clients decide by the status alone (OTLP/HTTP, Failures); the code is what
 * OTLP/gRPC would have said.
 */
export const RPC_CODE: Readonly<Record<Refusal['status'], number>> = {
  400: STATUS_CODE.INVALID_ARGUMENT,
  403: STATUS_CODE.PERMISSION_DENIED,
  404: STATUS_CODE.NOT_FOUND,
  405: STATUS_CODE.UNIMPLEMENTED,
  408: STATUS_CODE.UNAVAILABLE,
  413: STATUS_CODE.RESOURCE_EXHAUSTED,
  415: STATUS_CODE.INVALID_ARGUMENT,
  417: STATUS_CODE.INVALID_ARGUMENT,
  431: STATUS_CODE.RESOURCE_EXHAUSTED,
  500: STATUS_CODE.INTERNAL,
  501: STATUS_CODE.UNIMPLEMENTED,
  503: STATUS_CODE.UNAVAILABLE,
  505: STATUS_CODE.UNIMPLEMENTED,
};

/** 503 with Retry-After: one of the few answers after which an OTLP client sends the same again. */
export function unavailable(reason: RefusalReason, message: string, retryAfter: number): Refusal {
  return { status: 503, reason, message, headers: { 'retry-after': String(retryAfter) } };
}

/** Headers of a client are a few hundred bytes; proxies add some. Beyond it: 431. */
export const MAX_HEADER_BYTES = 16 * 1024;

/** How long the headers of a request, and all of it, may take to arrive, in milliseconds. Beyond it: 408. */
export const ARRIVAL_TIMES = { headers: 10_000, whole: 60_000 } as const;

/** What a person can do after a 408. OTLP clients do not send again: whoever is that slow would be so the next time. */
export const TOO_SLOW_REMEDY = 'look at the network between, or send smaller requests';

const TOO_SLOW = `the request came too slowly: its headers have to come within ${ARRIVAL_TIMES.headers / 1000} s, and the whole within a minute; ${TOO_SLOW_REMEDY}`;

/** What Node's parser and timers say of a request that is none (codes and reasons of `clientError`). */
export function refusalOfClientError(code: string, parserReason = ''): Refusal {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return {
        status: 431,
        reason: 'malformed',
        message: `the request line and headers have more than ${MAX_HEADER_BYTES} bytes`,
      };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { status: 408, reason: 'malformed', message: TOO_SLOW };
    default:
      return { status: 400, reason: 'malformed', message: wordsOfParserError(code, parserReason) };
  }
}

/** The parser has one code for several faults around the length of a body; its reason tells them apart. */
function wordsOfParserError(code: string, reason: string): string {
  if (reason.includes('Content-Length') && reason.includes('Transfer-Encoding')) {
    return HAS_LENGTH_AND_CODING;
  }
  switch (code) {
    case 'HPE_UNEXPECTED_CONTENT_LENGTH':
      return 'the request has two Content-Length headers (RFC 9112, 6.3)';
    case 'HPE_INVALID_CONTENT_LENGTH':
      return 'the Content-Length of the request is not one whole number of bytes (RFC 9110, 8.6)';
    case 'HPE_INVALID_TRANSFER_ENCODING':
      return 'the Transfer-Encoding of the request is not chunked, once and at its end (RFC 9112, 6.1)';
    case 'HPE_PAUSED_H2_UPGRADE':
      return 'the request is HTTP/2, as that of gRPC: send OTLP/HTTP over HTTP/1.1 (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf)';
    default:
      return `not a well-formed HTTP/1.1 request (${code})`;
  }
}

/** Where both stand, two servers could read different requests. */
export const HAS_LENGTH_AND_CODING =
  'the request has both Content-Length and Transfer-Encoding (RFC 9112, 6.1): send one of them';
