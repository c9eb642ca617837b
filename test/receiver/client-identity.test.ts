import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { readClientCertificate } from '../../src/receiver/client-certificate.ts';
import { createClientCheck, describeIdentity } from '../../src/receiver/client-identity.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import type { CertificateAuthority, CertificateRequest } from '../stack/certificates.ts';

describe('the identity of a certificate', () => {
  let ca: CertificateAuthority;
  beforeAll(async () => {
    ca = await createCertificateAuthority('test CA');
  });

  async function identityOf(request: Partial<CertificateRequest>) {
    const { certPem } = await ca.issue({ commonName: 'someone', usage: 'client', ...request });
    return readClientCertificate(new X509Certificate(certPem).raw).identity;
  }

  test('the sender is the SPIFFE id, then the first DNS name, then the CN', async () => {
    const uris = ['spiffe://example.com/a'];
    const dnsNames = ['One.Example.com', 'two.example.com'];
    expect(await identityOf({ uris, dnsNames })).toEqual({
      sender: 'spiffe://example.com/a',
      uris,
      dnsNames: ['one.example.com', 'two.example.com'],
    });
    expect((await identityOf({ uris: ['https://example.com/me'], dnsNames })).sender).toBe('one.example.com');
    expect(await identityOf({ commonName: 'José' })).toEqual({ sender: 'CN=José', uris: [], dnsNames: [] });
    expect((await identityOf({ ips: ['127.0.0.1'] })).sender).toBe('CN=someone');
  });

  test.each([
    ['a URI as a DNS name', { dnsNames: ['spiffe://example.com/admin'] }],
    ['a CN as a DNS name', { dnsNames: ['CN=admin'] }],
    ['a list in a DNS name', { dnsNames: ['one.example.com, DNS:two.example.com'] }],
    ['a list in a URI', { uris: ['spiffe://example.com/a, URI:spiffe://example.com/b'] }],
    ['NUL in a DNS name', { dnsNames: ['admin.example.com\0.evil.com'] }],
    ['NUL in a URI', { uris: ['spiffe://example.com/admin\0/x'] }],
    ['line end in a URI', { uris: ['spiffe://example.com/admin\n'] }],
    ['line end in a DNS name', { dnsNames: ['admin.example.com\n'] }],
    ['empty DNS label', { dnsNames: ['admin..com'] }],
    ['way up in a URI', { uris: ['spiffe://example.com/ns/../admin'] }],
    ['encoded way up in a URI', { uris: ['spiffe://example.com/ns/%2E%2e'] }],
    ['no scheme', { uris: ['example.com/admin'] }],
    ['longer than a SPIFFE id', { uris: [`spiffe://example.com/${'a'.repeat(2048)}`] }],
    ['e-mail as a DNS name', { dnsNames: ['admin@example.com'] }],
  ])('a malformed name is no identity: %s', async (_, names) => {
    expect(await identityOf(names)).toEqual({ sender: 'CN=someone', uris: [], dnsNames: [] });
  });

  test('a CN cannot pass for another kind of name, nor break a line', async () => {
    expect((await identityOf({ commonName: 'spiffe://example.com/a' })).sender).toBe(
      'CN=spiffe://example.com/a',
    );
    expect((await identityOf({ commonName: 'a\nb' })).sender).toBe('CN=a?b');
    expect((await identityOf({ commonName: 'a'.repeat(300) })).sender).toBe(`CN=${'a'.repeat(256)}`);
    expect((await identityOf({ commonName: '' })).sender).toBe('certificate without a name');
  });

  test('bytes that are not a certificate are an error', () => {
    expect(() => readClientCertificate(Buffer.from('300030', 'hex'))).toThrow(/./);
  });
});

function identity({ uris = [], dnsNames = [] }: { uris?: string[]; dnsNames?: string[] }) {
  return { sender: 'CN=any', uris, dnsNames };
}

describe('createClientCheck', () => {
  test.each([
    ['spiffe://td/ns/a/sa/*', 'spiffe://td/ns/a/sa/collector', true],
    ['spiffe://td/ns/a/sa/*', 'spiffe://td/ns/b/sa/collector', false],
    ['spiffe://td/ns/a/sa/*', 'spiffe://td/ns/a/sa/', false],
    ['spiffe://td/ns/a/sa/*', 'spiffe://td/ns/a/sa/x/admin', false],
    ['spiffe://td/ns/a/sa/*', 'spiffe://td/ns/a/sa/x?y', false],
    ['spiffe://td/ns/a/sa/*', 'spiffe://td/ns/a/sa/x#y', false],
    ['spiffe://td/ns/a/sa/*', 'spiffe://evil/spiffe://td/ns/a/sa/x', false],
    ['spiffe://td/ns/a/sa/*', 'xspiffe://td/ns/a/sa/x', false],
    ['spiffe://td/ns/*/sa/*', 'spiffe://td/ns/a/sa/b', true],
    ['spiffe://td/ns/*/sa/*', 'spiffe://td/ns/a/x/sa/b', false],
    ['spiffe://*/ns/a', 'spiffe://td/ns/a', true],
    ['spiffe://td/collector-*', 'spiffe://td/collector-1', true],
    ['spiffe://td/collector-*', 'spiffe://td/collector', false],
    ['spiffe://td/**', 'spiffe://td/a', true],
    ['spiffe://td/**', 'spiffe://td/a/b', false],
    ['spiffe://td/a', 'spiffe://td/a', true],
    ['spiffe://td/a', 'spiffe://td/A', false],
    ['spiffe://td/a', 'spiffe://td/a/', false],
    ['spiffe://td/a.c', 'spiffe://td/abc', false],
    ['spiffe://td/(a|b)', 'spiffe://td/a', false],
    ['spiffe://td/a$', 'spiffe://td/a', false],
    ['urn:uuid:*', 'urn:uuid:1-2', true],
    ['urn:*:*', 'urn:a:b', true],
    ['urn:*:*', 'urn:a:', false],
    ['spiffe://td/a*a', 'spiffe://td/aa', false],
    ['spiffe://td/a*a', 'spiffe://td/aaa', true],
    ['spiffe://td/a*b*c', 'spiffe://td/abbc', false],
    ['spiffe://td/a*b*c', 'spiffe://td/abbcc', true],
    ['spiffe://td/a*b*c', 'spiffe://td/a-b-b-c', true],
    ['spiffe://td/a*b*b', 'spiffe://td/a-b', false],
    ['spiffe://td/a*?b', 'spiffe://td/a1?b', true],
    ['*', 'spiffe://td/a', false],
  ])('URI: %s against %s is %s', (pattern, uri, expected) => {
    expect(createClientCheck([pattern])(identity({ uris: [uri] }))).toBe(expected);
  });

  test.each([
    ['collector.example.com', 'collector.example.com', true],
    ['Collector.EXAMPLE.com', 'collector.example.com', true],
    ['*.example.com', 'collector.example.com', true],
    ['*.example.com', 'a.b.example.com', false],
    ['*.example.com', 'example.com', false],
    ['*.example.com', '.example.com', false],
    ['*.example.com', 'collector.example.com.evil.com', false],
    ['*.example.com', 'collector-example.com', false],
    ['*.example.com', 'collectorxexample.com', false],
    ['collector-*.example.com', 'collector-7.example.com', true],
    ['*', 'localhost', true],
    ['*', 'example.com', false],
  ])('DNS: %s against %s is %s', (pattern, name, expected) => {
    expect(createClientCheck([pattern])(identity({ dnsNames: [name] }))).toBe(expected);
  });

  test('several * take a long name in no time', () => {
    const uris = [`spiffe://td/${'a'.repeat(2000)}`];
    expect(createClientCheck(['spiffe://td/*a*a*a*b'])(identity({ uris }))).toBe(false);
    expect(createClientCheck(['spiffe://td/*a*a*a*a'])(identity({ uris }))).toBe(true);
  });

  test('no patterns let in everybody, several any of them', () => {
    const nobody = identity({});
    expect(createClientCheck([])(nobody)).toBe(true);
    expect(createClientCheck(['*', 'spiffe://td/*'])(nobody)).toBe(false);
    const check = createClientCheck(['a.example.com', 'spiffe://td/*']);
    expect(check(identity({ dnsNames: ['b.example.com'], uris: ['spiffe://td/a'] }))).toBe(true);
    expect(check(identity({ dnsNames: ['spiffe://td/a'], uris: ['a.example.com'] }))).toBe(false);
  });
});

test('describeIdentity names the sender once', () => {
  const known = { sender: 'spiffe://td/a', uris: ['spiffe://td/a'], dnsNames: ['a.example.com'] };
  expect(describeIdentity(known)).toBe('spiffe://td/a (also a.example.com)');
  expect(describeIdentity({ sender: 'CN=a', uris: [], dnsNames: [] })).toMatch(
    /^CN=a \(a certificate without a SPIFFE id or DNS name/,
  );
});
