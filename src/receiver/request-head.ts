import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Encoding } from '../otlp/response.ts';
import type { Compression } from './decompress.ts';
import { HAS_LENGTH_AND_CODING } from './refusal.ts';
import type { Refusal } from './refusal.ts';

export const TRACES_PATH = '/v1/traces';

export type RequestHead = {
  readonly method: string;
  /** As in the request line, with its query. */
  readonly url: string;
  readonly httpVersion: string;
  readonly headers: IncomingHttpHeaders;
  /** Names and values in turn, each line of them: in `headers` only the first of some is left. */
  readonly rawHeaders: readonly string[];
};

export type AcceptedHead = { readonly encoding: Encoding; readonly compression: Compression };

const COMPRESSIONS: Readonly<Record<string, Compression>> = {
  identity: 'identity',
  gzip: 'gzip',
  // RFC 9110, 8.4.1.3: the same as gzip.
  'x-gzip': 'gzip',
  deflate: 'deflate',
  zstd: 'zstd',
};

/** The encoding of a request by its content type, and so of its answer; undefined: neither. */
export function encodingOf(contentType: string | undefined): Encoding | undefined {
  const mediaType = contentType?.split(';', 1)[0]!.trim().toLowerCase();
  // The second is not OTLP's name for it, but that of some clients.
  if (mediaType === 'application/x-protobuf' || mediaType === 'application/protobuf') return 'protobuf';
  if (mediaType === 'application/json') return 'json';
  return undefined;
}

export function headOf({
  method = '',
  url = '',
  httpVersion,
  headers,
  rawHeaders,
}: IncomingMessage): RequestHead {
  return { method, url, httpVersion, headers, rawHeaders };
}

/** The uri-host and port of RFC 9110, 7.2: a name or IPv4 address, or an IP address in brackets. */
const HOST = /^(?:[\w.~!$&'()*+,;=%-]*|\[[\da-fv:.]+\])(?::\d*)?$/i;

/** Where two servers could read the same bytes as different requests (RFC 9112, 11.2), none of them is taken. */
function checkFraming({ httpVersion, headers, rawHeaders }: RequestHead): Refusal | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    const message = `HTTP/${httpVersion} is not spoken here: send HTTP/1.1`;
    return { status: 505, reason: 'malformed', message, endsConnection: true };
  }
  const hosts = countOf(rawHeaders, 'host');
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1') || !HOST.test(headers.host ?? '')) {
    const seen =
      hosts > 1 ? `${hosts} Host headers` : hosts === 0 ? 'no Host header' : 'a malformed Host header';
    return malformed(`the request has ${seen} (RFC 9112, 3.2)`);
  }
  if (countOf(rawHeaders, 'content-type') > 1) {
    return malformed('the request has more than one Content-Type header (RFC 9110, 8.3)');
  }
  const coding = headers['transfer-encoding']?.trim().toLowerCase();
  if (coding !== undefined) {
    if (headers['content-length'] !== undefined) return malformed(HAS_LENGTH_AND_CODING);
    if (httpVersion === '1.0') return malformed('HTTP/1.0 has no Transfer-Encoding (RFC 9112, 6.1)');
    if (!/[^\s,]/.test(coding)) return malformed('the Transfer-Encoding is empty (RFC 9112, 6.1)');
    if (coding !== 'chunked') {
      const message = `Transfer-Encoding is ${quote(coding)}; supported is chunked alone`;
      return { status: 501, reason: 'malformed', message, endsConnection: true };
    }
  }
  // A server passes over what HTTP/1.0 expects (RFC 9110, 10.1.1).
  const isExpectant = headers.expect !== undefined && httpVersion === '1.1';
  if (isExpectant && headers.expect!.trim().toLowerCase() !== '100-continue') {
    const message = `Expect is ${quote(headers.expect!)}; supported is 100-continue alone`;
    return { status: 417, reason: 'expectation', message };
  }
  return undefined;
}

function malformed(message: string): Refusal {
  return { status: 400, reason: 'malformed', message, endsConnection: true };
}

/** How many lines of the head have this name. */
function countOf(rawHeaders: readonly string[], name: string): number {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]!.length === name.length && rawHeaders[at]!.toLowerCase() === name) count += 1;
  }
  return count;
}

/** What can be told before a byte of the body is read (OTLP/HTTP; RFC 9110). Pure. */
export function checkHead(head: RequestHead, maxBodySize: number): AcceptedHead | Refusal {
  const { method, headers } = head;
  const faulty = checkFraming(head);
  if (faulty !== undefined) return faulty;
  // A server takes the absolute form too (RFC 9112, 3.2.2).
  const path = head.url.replace(/^https?:\/\/[^/?]*/i, '').split('?', 1)[0]!;
  // Clients join a base URL that ends with a slash, and a path that begins with one.
  if (path !== TRACES_PATH && path.replace(/\/+/g, '/').replace(/\/$/, '') !== TRACES_PATH) {
    const message = `there is nothing at ${path.slice(0, 200)}: traces are taken at POST ${TRACES_PATH} (OTLP/HTTP)`;
    return { status: 404, reason: 'path', message };
  }
  if (method !== 'POST') {
    const message = `${method} is not supported: traces are taken at POST ${TRACES_PATH} (OTLP/HTTP)`;
    return { status: 405, reason: 'method', message, headers: { allow: 'POST' } };
  }

  const encoding = encodingOf(headers['content-type']);
  if (encoding === undefined) {
    const given = headers['content-type'] === undefined ? 'missing' : quote(headers['content-type']);
    return {
      status: 415,
      reason: 'content_type',
      message: `Content-Type is ${given}; supported are application/x-protobuf and application/json`,
      headers: { accept: 'application/x-protobuf, application/json' },
    };
  }

  const coding = headers['content-encoding']?.trim().toLowerCase() ?? '';
  const compression =
    coding === '' ? 'identity' : Object.hasOwn(COMPRESSIONS, coding) && COMPRESSIONS[coding];
  if (!compression) {
    return {
      status: 415,
      reason: 'content_encoding',
      message: `Content-Encoding is ${quote(coding)}; supported is one of gzip, deflate, zstd, or none`,
      headers: { 'accept-encoding': 'gzip, deflate, zstd' },
    };
  }

  if (Number(headers['content-length'] ?? 0) > maxBodySize) return tooLarge(maxBodySize);
  return { encoding, compression };
}

export function tooLarge(maxBodySize: number): Refusal {
  const message = `the body has more than ${maxBodySize} bytes (receiver.max_request_body_size, before and after decompression); send smaller batches`;
  return { status: 413, reason: 'too_large', message };
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
