import { KeyUsageFlags } from '@peculiar/asn1-x509';
import { X509Certificate } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { readClientCertificate } from '../../src/receiver/client-certificate.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import type { CertificateAuthority, CertificateRequest, KeyPair } from '../stack/certificates.ts';
import { CLIENT_URI, startTestReceiver, statusOf } from './harness.ts';
import { tracesProtobuf } from './payloads.ts';

const ID = 'spiffe://example.com/a';
const FLAGS = KeyUsageFlags;

let ca: CertificateAuthority;
beforeAll(async () => {
  ca = await createCertificateAuthority('test CA');
});

function issue(request: Partial<CertificateRequest>): Promise<KeyPair> {
  return ca.issue({ commonName: 'someone', usage: 'client', ...request });
}

async function read(request: Partial<CertificateRequest>) {
  return readClientCertificate(new X509Certificate((await issue(request)).certPem).raw);
}

describe('what a certificate may be', () => {
  test.each([
    ['a SPIFFE id alone', { uris: [ID] }],
    ['a SPIFFE id with DNS names', { uris: [ID], dnsNames: ['a.example.com', 'b.example.com'] }],
    ['no names', {}],
    ['several URIs, none of them a SPIFFE id', { uris: ['https://example.com/a', 'urn:uuid:1'] }],
    ['key encipherment too', { keyUsages: FLAGS.digitalSignature | FLAGS.keyEncipherment }],
    ['key agreement', { uris: [ID], keyUsages: FLAGS.digitalSignature | FLAGS.keyAgreement }],
  ])('%s', async (_, request) => {
    expect(await read(request)).not.toHaveProperty('fault');
  });

  test.each([
    ['uri_names', { uris: [ID, 'spiffe://example.com/b'] }, /has 2 URIs/],
    ['uri_names', { uris: [ID, ID] }, /has 2 URIs/],
    ['uri_names', { uris: ['https://example.com/a', ID] }, /has 2 URIs/],
    ['uri_names', { uris: [ID, 'not a URI'] }, /has 2 URIs/],
    ['uri_names', { uris: ['https://example.com/a', 'SPIFFE://example.com/a'] }, /has 2 URIs/],
    ['uri_names', { dnsNames: many(100, (i) => `n${i}.example.com`), uris: [ID, `${ID}b`] }, /has 2 URIs/],
    ['uri_names', { uris: [...many(150, (i) => `https://example.com/${i}`), ID] }, /has 151 URIs/],
    ['spiffe_id', { uris: ['spiffe://example.com'] }, /"spiffe:\/\/example\.com": it has no path/],
    ['spiffe_id', { uris: ['spiffe://example.com/a?b'] }, /path has other characters/],
    ['spiffe_id', { uris: ['Spiffe://example.com/a'] }, /begin with spiffe:/],
    ['spiffe_id', { uris: ['spiffe://example.com/a\nb'] }, /"spiffe:\/\/example\.com\/a\?b": its path/],
    ['certificate_of_ca', { isAuthority: true }, /basic constraints CA:TRUE/],
    ['certificate_of_ca', { uris: [ID], isAuthority: true }, /basic constraints CA:TRUE/],
    [
      'certificate_of_ca',
      { keyUsages: FLAGS.digitalSignature | FLAGS.keyCertSign },
      /keyCertSign or cRLSign/,
    ],
    ['certificate_of_ca', { keyUsages: FLAGS.digitalSignature | FLAGS.cRLSign }, /keyCertSign or cRLSign/],
  ] as const)('%s: %j', async (reason, request, words) => {
    const { fault, identity } = await read(request);
    expect(fault).toEqual({ reason, message: expect.stringMatching(words) });
    // What it claims may be another's.
    expect(identity).toEqual({ sender: 'CN=someone', uris: [], dnsNames: [] });
  });

  test('that of the CA itself is no client', () => {
    const { fault } = readClientCertificate(new X509Certificate(ca.certPem).raw);
    expect(fault).toMatchObject({ reason: 'certificate_of_ca' });
  });
});

test('its time is read to the second', async () => {
  const times = { notBefore: new Date('2026-03-01T12:00:01Z'), notAfter: new Date('2051-03-01T12:00:02Z') };
  expect(await read(times)).toMatchObject({
    validFrom: times.notBefore.getTime(),
    validTo: times.notAfter.getTime(),
  });
});

test('an extension that is there twice is an error', async () => {
  const der = Buffer.from(new X509Certificate((await issue({ uris: [ID], keyUsages: 1 })).certPem).raw);
  // The id of the key usage becomes that of the names (RFC 5280, 4.2.1.3 and 4.2.1.6).
  const at = der.indexOf(Buffer.from('0603551d0f', 'hex'));
  der[at + 4] = 0x11;
  expect(() => readClientCertificate(der)).toThrow(/2\.5\.29\.17 is there 2 times/);
});

describe('over TLS, with a word of its own in the answer and in the log', () => {
  test('each is refused, and a good one is not', async () => {
    const { certificates, send, queue, seen } = await startTestReceiver();
    const body = tracesProtobuf(['a']);
    const subject = { commonName: 'someone', usage: 'client' as const };
    const cases = [
      ['uri_names', { uris: [CLIENT_URI, ID] }],
      ['spiffe_id', { uris: [`${CLIENT_URI}/`] }],
      ['certificate_of_ca', { isAuthority: true }],
      ['certificate_of_ca', { commonName: 'signer', keyUsages: FLAGS.digitalSignature | FLAGS.cRLSign }],
    ] as const;
    for (const [reason, request] of cases) {
      const client = await certificates.ca.issue({ ...subject, ...request });
      const answer = await send({ body, client });
      const { code, message } = statusOf(answer);
      expect([answer.status, code, message]).toEqual([
        403,
        7,
        expect.stringContaining('the client certificate'),
      ]);
      expect(await seen((line) => line['detail'] === message)).toMatchObject({
        level: 40,
        reason,
        sender: reason === 'certificate_of_ca' && 'keyUsages' in request ? 'CN=signer' : 'CN=someone',
      });
    }
    expect(queue.records).toEqual([]);
    expect((await send({ body })).status).toBe(200);
  });

  test('so is the certificate of a CA in client_ca_file, shown by a client that has its key', async () => {
    const { certificates, folder, send, seen, queue } = await startTestReceiver();
    const command = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=self -days 2';
    // As OpenSSL makes it unless told otherwise, without key usages.
    const authority = {
      certPem: openssl(`${command} -keyout self.key -addext basicConstraints=critical,CA:TRUE`, folder),
      keyPem: readFileSync(join(folder, 'self.key'), 'utf8'),
    };
    writeFileSync(certificates.caFile, certificates.ca.certPem + authority.certPem);
    await seen(({ msg }) => msg.startsWith('new TLS files are in use'));
    const answer = await send({ body: tracesProtobuf(['a']), client: authority });
    expect(answer.status).toBe(403);
    expect(statusOf(answer).message).toContain('that of a CA');
    expect(queue.records).toEqual([]);
  });
});

function many<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

function openssl(command: string, cwd: string): string {
  return execFileSync('openssl', command.split(' '), {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}
