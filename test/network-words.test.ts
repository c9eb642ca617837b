import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bareUrl, networkWords, quote, quoteBytes } from '../src/network-words.ts';

describe('quote', () => {
  it.each([
    ['plain', 'plain'],
    ['  two\r\n\tlines\u0000 ', 'two lines'],
    ['\u001b[31mred\u001b[0m', '[31mred [0m'],
    ['\u202eright to left', 'right to left'],
    ['lone \ud800 surrogate', 'lone surrogate'],
    ['emoji 👩‍🔬', 'emoji 👩 🔬'],
  ])('%j', (text, expected) => {
    expect(quote(text)).toBe(expected);
  });

  it('is one line of at most 500 characters, whatever comes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 4_000, size: 'max' }), (text) => {
        const quoted = quote(text);
        expect([...quoted].length).toBeLessThanOrEqual(500);
        expect(quoted).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
      }),
    );
  });

  it('marks what is cut', () => {
    expect(quote('x'.repeat(501))).toBe(`${'x'.repeat(499)}…`);
    expect(quote('x'.repeat(500))).toBe('x'.repeat(500));
    expect(quote(`a${' '.repeat(5_000)}b`)).toBe('a…');
  });

  it('of bytes is the same, however many there are', () => {
    const unit = fc.constantFrom('a', ' ', 'é', '…', '🔑', '\ud800');
    const text = fc.oneof(
      fc.string({ unit, maxLength: 3_000, size: 'max' }),
      fc.tuple(unit, fc.integer({ min: 1_990, max: 2_010 })).map(([each, count]) => each.repeat(count)),
    );
    fc.assert(
      fc.property(text, (words) => {
        const bytes = Buffer.from(words);
        expect(quoteBytes(bytes)).toBe(quote(bytes.toString('utf8')));
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8_000, size: 'max' }), (array) => {
        const bytes = Buffer.from(array);
        expect(quoteBytes(bytes)).toBe(quote(bytes.toString('utf8')));
      }),
    );
  });
});

it('leaves out what may be secret in a URL', () => {
  expect(bareUrl('https://user:password@host:8443/path?token=1#fragment')).toBe('https://host:8443/path');
});

function coded(code: string, message = 'boom') {
  return Object.assign(new Error(message), { code });
}

describe('networkWords', () => {
  const url = new URL('https://mlflow.test:5000/v1/traces?secret=1');

  it.each([
    [coded('ENOTFOUND'), 'the name mlflow.test does not resolve'],
    [coded('EAI_AGAIN'), 'DNS'],
    [coded('ECONNREFUSED'), 'nothing listens at mlflow.test:5000'],
    [new AggregateError([coded('ECONNREFUSED'), coded('ENETUNREACH')]), 'nothing listens'],
    [coded('ENETUNREACH'), 'no route to mlflow.test:5000'],
    [coded('UND_ERR_CONNECT_TIMEOUT'), 'no connection to mlflow.test:5000 in time'],
    [coded('UND_ERR_SOCKET'), 'closed the connection before its answer was complete'],
    [new TypeError('fetch failed', { cause: coded('ECONNRESET') }), 'closed the connection'],
    [coded('SELF_SIGNED_CERT_IN_CHAIN'), 'set ca_file'],
    [coded('CERT_HAS_EXPIRED'), 'renew it'],
    [coded('ERR_TLS_CERT_ALTNAME_INVALID', 'names: other.test'), 'other.test'],
    [coded('ERR_SSL_WRONG_VERSION_NUMBER'), 'does not speak TLS'],
    [coded('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'), 'client certificate'],
    [Object.assign(new Error('Expected HTTP/'), { name: 'HTTPParserError' }), 'is not HTTP'],
    [new DOMException('', 'TimeoutError'), 'no complete answer from mlflow.test:5000 within 2.5 s'],
    [new DOMException('', 'AbortError'), 'stopped waiting'],
    [coded('E_NEW', 'never\nseen'), 'never seen (E_NEW)'],
    ['not an error', 'not an error'],
  ])('%s', (error, expected) => {
    const words = networkWords(error, url, 2_500);
    expect(words).toContain(expected);
    expect(words).not.toContain('secret');
  });
});
