import { describe, expect, test } from 'vitest';
import { handshakeWords } from '../../src/receiver/handshake-words.ts';
import { refusalOfCollected } from '../../src/receiver/refusal-of-body.ts';
import { refusalOfClientError } from '../../src/receiver/refusal.ts';

test('a slow body is told how slow it was, and what is needed', () => {
  const leastPace = { bytes: 80_000, everyMs: 10_000 };
  expect(refusalOfCollected({ ok: false, why: 'slow', bytes: 77_000, leastPace }, 1)).toEqual({
    status: 408,
    reason: 'slow',
    message:
      'the body came too slowly: 77000 bytes in 10 s, at least 80000 are needed, and the whole request within a minute; look at the network between, or send smaller requests',
  });
});

test('a request that did not arrive is told the times', () => {
  const { status, message } = refusalOfClientError('ERR_HTTP_REQUEST_TIMEOUT');
  expect(status).toBe(408);
  expect(message).toMatch(/headers have to come within 10 s, and the whole within a minute/);
});

describe('a length in doubt, as other versions of the parser say it', () => {
  test.each([
    ['HPE_UNEXPECTED_CONTENT_LENGTH', 'Content-Length already present', /two Content-Length/],
    [
      'HPE_UNEXPECTED_CONTENT_LENGTH',
      "Content-Length can't be present with Transfer-Encoding",
      /both Content-Length and Transfer-Encoding/,
    ],
    ['HPE_INVALID_CONTENT_LENGTH', undefined, /not one whole number/],
    ['HPE_PAUSED_H2_UPGRADE', undefined, /HTTP\/2.*gRPC.*http\/protobuf/],
    ['HPE_INVALID_METHOD', undefined, /HPE_INVALID_METHOD/],
  ])('%s, %s', (code, reason, words) => {
    expect(refusalOfClientError(code, reason).message).toMatch(words);
  });
});

describe('the handshake', () => {
  test.each([
    ['ERR_TLS_HANDSHAKE_TIMEOUT', 'the client did not finish the TLS handshake within 10 s'],
    ['toString', undefined],
    ['ERR_SSL_SOMETHING', undefined],
  ])('%s', (code, words) => {
    expect(handshakeWords(code)).toBe(words);
  });
});
