import type { IncomingHttpHeaders } from 'node:http';
import type { Encoding } from '../otlp/response.ts';
import type { Compression } from './decompress.ts';
import type { Refusal } from './refusal.ts';

export const TRACES_PATH = '/v1/traces';

export type RequestHead = {
  readonly method: string;
  /** As in the request line, with its query. */
  readonly url: string;
  readonly httpVersion: string;
  readonly headers: IncomingHttpHeaders;
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
  if (mediaType === 'application/x-protobuf') return 'protobuf';
  if (mediaType === 'application/json') return 'json';
  return undefined;
}

/** What can be told before a byte of the body is read (OTLP/HTTP; RFC 9110). Pure. */
export function checkHead(head: RequestHead, maxBodySize: number): AcceptedHead | Refusal {
  const { method, headers } = head;
  if (headers.host === undefined && head.httpVersion === '1.1') {
    return { status: 400, reason: 'malformed', message: 'the request has no Host header (RFC 9112, 3.2)' };
  }
  // A server takes the absolute form too (RFC 9112, 3.2.2).
  const path = head.url.replace(/^https?:\/\/[^/?]*/i, '').split('?', 1)[0]!;
  if (path !== TRACES_PATH) {
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
