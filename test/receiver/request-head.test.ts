import { describe, expect, test } from 'vitest';
import { checkHead, encodingOf } from '../../src/receiver/request-head.ts';

const HOST = { host: 'relay' };
const PROTOBUF = { ...HOST, 'content-type': 'application/x-protobuf' };

function check(head: {
  method?: string;
  url?: string;
  httpVersion?: string;
  headers?: Record<string, string>;
  rawHeaders?: string[];
}) {
  const { headers = PROTOBUF } = head;
  const rawHeaders = Object.entries(headers).flat();
  return checkHead(
    { method: 'POST', url: '/v1/traces', httpVersion: '1.1', headers, rawHeaders, ...head },
    1000,
  );
}

test.each([
  ['application/x-protobuf', 'protobuf'],
  ['Application/X-Protobuf', 'protobuf'],
  ['application/x-protobuf; charset=utf-8', 'protobuf'],
  [' application/json ;charset=utf-8', 'json'],
  ['application/json;;', 'json'],
  ['application/jsonx', undefined],
  ['application/protobuf', 'protobuf'],
  ['application/x-protobufs', undefined],
  ['text/plain; application/json', undefined],
  ['application/grpc', undefined],
  ['', undefined],
  [undefined, undefined],
])('content type %s is %s', (contentType, expected) => {
  expect(encodingOf(contentType)).toBe(expected);
});

describe('what is taken', () => {
  test.each([
    [undefined, 'identity'],
    ['', 'identity'],
    ['identity', 'identity'],
    ['gzip', 'gzip'],
    ['GZip', 'gzip'],
    ['x-gzip', 'gzip'],
    ['deflate', 'deflate'],
    ['zstd', 'zstd'],
  ])('content encoding %s is %s', (coding, compression) => {
    const headers = coding === undefined ? PROTOBUF : { ...PROTOBUF, 'content-encoding': coding };
    expect(check({ headers })).toEqual({ encoding: 'protobuf', compression });
  });

  test.each(['/v1/traces/', '//v1/traces', '/v1//traces//?a=b', 'http://relay//v1/traces/'])(
    'target %s, as a client joins a base URL and a path',
    (url) => {
      expect(check({ url })).toEqual({ encoding: 'protobuf', compression: 'identity' });
    },
  );

  test.each(['/v1/traces', '/v1/traces?a=b', 'http://relay:4318/v1/traces', 'HTTPS://relay/v1/traces?x'])(
    'target %s',
    (url) => {
      expect(check({ url })).toMatchObject({ encoding: 'protobuf' });
    },
  );

  test('a body of exactly the limit, and HTTP/1.0 without a host', () => {
    expect(check({ headers: { ...PROTOBUF, 'content-length': '1000' } })).toMatchObject({
      encoding: 'protobuf',
    });
    expect(check({ httpVersion: '1.0', headers: { 'content-type': 'application/json' } })).toMatchObject({
      encoding: 'json',
    });
  });
});

describe('what is refused', () => {
  test.each([
    ['br', 415],
    ['gzip, gzip', 415],
    ['gzip,zstd', 415],
    ['constructor', 415],
    ['zlib', 415],
  ])('content encoding %s: %i', (coding, status) => {
    expect(check({ headers: { ...PROTOBUF, 'content-encoding': coding } })).toMatchObject({
      status,
      reason: 'content_encoding',
      message: expect.stringContaining(`"${coding}"`),
      headers: { 'accept-encoding': 'gzip, deflate, zstd' },
    });
  });

  test.each([
    [{ url: '/' }, 404, 'path'],
    [{ url: '/v1/traces/x' }, 404, 'path'],
    [{ url: '/v1/traces%2F' }, 404, 'path'],
    [{ url: '/V1/traces' }, 404, 'path'],
    [{ url: '/v1/metrics', method: 'GET' }, 404, 'path'],
    [{ url: '*', method: 'OPTIONS' }, 404, 'path'],
    [{ method: 'GET' }, 405, 'method'],
    [{ method: 'PUT' }, 405, 'method'],
    [{ headers: HOST }, 415, 'content_type'],
    [{ headers: { ...HOST, 'content-type': 'text/plain' } }, 415, 'content_type'],
    [{ headers: { ...PROTOBUF, 'content-length': '1001' } }, 413, 'too_large'],
    [{ headers: { 'content-type': 'application/json' } }, 400, 'malformed'],
  ])('%j: %i %s', (head, status, reason) => {
    expect(check(head)).toMatchObject({ status, reason });
  });

  test('the words say what to do, and repeat a long input only in part', () => {
    expect(check({ url: '/v1/logs' })).toMatchObject({ message: expect.stringContaining('POST /v1/traces') });
    expect(check({ method: 'GET' })).toMatchObject({ headers: { allow: 'POST' } });
    const refusal = check({ url: `/${'a'.repeat(9000)}` });
    expect('message' in refusal && refusal.message.length).toBeLessThan(300);
  });
});

/** These headers, and more lines that Node leaves out of them. */
function lines(headers: Record<string, string>, ...more: string[]) {
  return { headers, rawHeaders: [...Object.entries(headers).flat(), ...more] };
}

describe('where two servers could read different requests', () => {
  test.each([
    ['two hosts', lines(PROTOBUF, 'HOST', 'relay'), 400, /2 Host headers/],
    ['two hosts in HTTP/1.0', { httpVersion: '1.0', ...lines(PROTOBUF, 'Host', 'b') }, 400, /2 Host headers/],
    ['no host', lines({ 'content-type': 'application/json' }), 400, /no Host header/],
    ['a host with a user', lines({ ...PROTOBUF, host: 'me@relay' }), 400, /malformed Host/],
    ['a host with a path', lines({ ...PROTOBUF, host: 'relay/v1' }), 400, /malformed Host/],
    ['two hosts in one', lines({ ...PROTOBUF, host: 'a b' }), 400, /malformed Host/],
    [
      'two content types',
      lines(PROTOBUF, 'Content-Type', 'application/json'),
      400,
      /more than one Content-Type/,
    ],
    [
      'another transfer coding',
      lines({ ...PROTOBUF, 'transfer-encoding': 'gzip, chunked' }),
      501,
      /"gzip, chunked"/,
    ],
    [
      'an empty transfer coding',
      lines({ ...PROTOBUF, 'transfer-encoding': ' , ' }),
      400,
      /Transfer-Encoding is empty/,
    ],
    [
      'chunks and a length',
      lines({ ...PROTOBUF, 'transfer-encoding': 'chunked', 'content-length': '2' }),
      400,
      /has both Content-Length and Transfer-Encoding/,
    ],
    [
      'chunks in HTTP/1.0',
      { httpVersion: '1.0', ...lines({ ...PROTOBUF, 'transfer-encoding': 'chunked' }) },
      400,
      /HTTP\/1\.0/,
    ],
    ['another version', { httpVersion: '2.0' }, 505, /HTTP\/2\.0/],
    ['no version', { httpVersion: '0.9' }, 505, /HTTP\/0\.9/],
  ])('%s', (_, head, status, message) => {
    expect(check(head)).toEqual({
      status,
      reason: 'malformed',
      message: expect.stringMatching(message),
      endsConnection: true,
    });
  });

  test.each(['relay', 'relay:4318', '10.0.0.1', '[::1]:4318', 'a_b.c-d', '', ':4318', 'a%20b'])(
    'the host %j is one',
    (host) => {
      expect(check(lines({ ...PROTOBUF, host }))).toMatchObject({ encoding: 'protobuf' });
    },
  );

  test('chunks alone are taken, in whatever case they are written', () => {
    const headers = { ...PROTOBUF, 'transfer-encoding': ' Chunked ' };
    expect(check({ headers })).toMatchObject({ encoding: 'protobuf' });
  });
});

describe('Expect', () => {
  test.each(['200-ok', '100-continue, 200-ok', '100-continue=1', '', 'x'])('%j: 417', (expectation) => {
    expect(check({ headers: { ...PROTOBUF, expect: expectation } })).toMatchObject({
      status: 417,
      reason: 'expectation',
      message: expect.stringContaining(`Expect is "${expectation}"`),
    });
  });

  test('100-continue is met, and what HTTP/1.0 expects is passed over', () => {
    expect(check({ headers: { ...PROTOBUF, expect: '100-Continue' } })).toMatchObject({
      encoding: 'protobuf',
    });
    const old = { httpVersion: '1.0', headers: { ...PROTOBUF, expect: '200-ok' } };
    expect(check(old)).toMatchObject({ encoding: 'protobuf' });
  });
});
