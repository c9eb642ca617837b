import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAuthorities, parseCertificates } from '../src/certificates.ts';
import { createCertificateAuthority } from './stack/certificates.ts';

let one: string;
let two: string;
let key: string;
let folder: string;
beforeAll(async () => {
  const first = await createCertificateAuthority('one');
  ({ certPem: one, keyPem: key } = first);
  two = (await createCertificateAuthority('two')).certPem;
  folder = mkdtempSync(join(tmpdir(), 'certificates-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What OpenSSL makes of it, by its own command. */
function openssl(args: readonly string[]): string {
  return execFileSync('openssl', args, {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

function namesOf(pem: string): string[] {
  return parseAuthorities(pem).map(({ subject }) => subject);
}

describe('a file that says whom to trust', () => {
  test('several, with words between them, other line ends, and labels of OpenSSL', () => {
    expect(namesOf(`# one\n${one}\nsubject=two\n${two}\n`)).toEqual(['CN=one', 'CN=two']);
    expect(namesOf(one.replaceAll('\n', '\r\n') + two.replaceAll('\n', '  \n'))).toEqual([
      'CN=one',
      'CN=two',
    ]);
    expect(namesOf(one.replaceAll('CERTIFICATE', 'X509 CERTIFICATE') + two.trimEnd())).toEqual([
      'CN=one',
      'CN=two',
    ]);
  });

  test('a trusted certificate of OpenSSL, and its text', () => {
    writeFileSync(join(folder, 'one.crt'), one);
    expect(namesOf(openssl(['x509', '-in', 'one.crt', '-trustout', '-addtrust', 'clientAuth']))).toEqual([
      'CN=one',
    ]);
    expect(namesOf(openssl(['x509', '-in', 'one.crt', '-text']))).toEqual(['CN=one']);
  });

  test('a real revocation list beside it is refused', () => {
    writeFileSync(join(folder, 'ca.crt'), one);
    writeFileSync(join(folder, 'ca.key'), key, { mode: 0o600 });
    writeFileSync(join(folder, 'index.txt'), '');
    writeFileSync(
      join(folder, 'ca.cnf'),
      '[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=1\n',
    );
    const crl = openssl(['ca', '-config', 'ca.cnf', '-gencrl', '-cert', 'ca.crt', '-keyfile', 'ca.key']);
    expect(crl).toMatch(/^-----BEGIN X509 CRL-----/);
    expect(() => parseAuthorities(one + crl)).toThrow(
      /^holds a revocation list \(at line \d+\), and revocation lists are not checked yet.*take it out/,
    );
    expect(() => parseAuthorities(crl + one)).toThrow(/^holds a revocation list \(at line 1\)/);
  });

  test.each([
    ['nothing', () => '', 'holds no certificate'],
    ['no PEM', () => 'hello', 'holds no certificate'],
    ['a private key', () => one + key, /^holds a private key \(at line \d+\).*take the key out$/],
    [
      'a key of another kind',
      () => key.replaceAll('PRIVATE', 'EC PRIVATE') + one,
      'holds a private key (at line 1)',
    ],
    [
      'a public key',
      () => `${one}-----BEGIN PUBLIC KEY-----\naGVsbG8=\n-----END PUBLIC KEY-----\n`,
      '(PUBLIC KEY, at line',
    ],
    [
      'certificates of another form',
      () => `-----BEGIN PKCS7-----\naGVsbG8=\n-----END PKCS7-----\n${one}`,
      '(PKCS7, at line 1)',
    ],
    [
      'no end',
      () => one + two.slice(0, -30),
      /^holds a CERTIFICATE without its end \(at line \d+\): it was cut off/,
    ],
    [
      'no end before the next',
      () => one.replace(/-----END.*\n/, '') + two,
      'holds a CERTIFICATE without its end (at line 1)',
    ],
    [
      'an end of something else',
      () => one.replace('END CERT', 'END X509 CERT'),
      'without its end (at line 1)',
    ],
    [
      'no beginning',
      () => one.slice(one.indexOf('\n') + 1),
      /^has a broken line \d+ \("-----END CERTIFICATE-----"\)/,
    ],
    [
      'a byte order mark',
      () => `\u{FEFF}${one}`,
      /^has a broken line 1 \("\u{FEFF}-----BEGIN CERTIFICATE-----"\)/u,
    ],
    ['a space before the line', () => one.replaceAll(/^/gm, '  '), /^has a broken line 1 /],
    [
      'a dash too few',
      () => one + two.replace('-----BEGIN', '----BEGIN'),
      /^has a broken line \d+ \("----BEGIN/,
    ],
    ['line ends of old Macs', () => one.replaceAll('\n', '\r'), /^has a broken line 1 /],
    [
      'damage',
      () => one + two.replace('\nMII', '\nXXX'),
      'holds a certificate that cannot be read (number 2) at line',
    ],
  ])('not with %s', (_, make, words) => {
    expect(() => parseAuthorities(make())).toThrow(words);
  });

  test('whatever it takes, OpenSSL reads to its end', () => {
    for (const pem of [one + two, `# a\n${one}b\n${two}`, one.replaceAll('\n', '\r\n') + two]) {
      writeFileSync(join(folder, 'many.crt'), pem);
      const subjects = openssl(['storeutl', '-noout', '-certs', 'many.crt']);
      expect(subjects).toContain('Total found: 2');
    }
  });
});

test('beside the certificates that a server shows, a key may stand, but nothing broken', () => {
  expect(parseCertificates(key + one).map(({ subject }) => subject)).toEqual(['CN=one']);
  expect(() => parseCertificates(key)).toThrow('holds no certificate');
  expect(() => parseCertificates(one + two.slice(0, -30))).toThrow('without its end');
});
