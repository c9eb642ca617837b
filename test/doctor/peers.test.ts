import { X509Certificate as Certificate } from 'node:crypto';
// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 wants this polyfill before it.
import 'reflect-metadata';
import { PemConverter, X509Certificate, X509CertificateGenerator } from '@peculiar/x509';
import { Agent, request } from 'undici';
import { expect, onTestFinished, test } from 'vitest';
import { watchPeers } from '../../src/doctor/peers.ts';
import { startServer } from '../auth/support.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import type { CertificateAuthority } from '../stack/certificates.ts';

const DAY = 86_400_000;
const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** What is said of a server by a client that trusts the CA; `sent` goes with the certificate of the server. */
async function judged(ca: CertificateAuthority, sent = '') {
  const { certPem, keyPem: key } = await ca.issue({
    commonName: 'leaf',
    ips: ['127.0.0.1'],
    usage: 'server',
    notAfter: new Date(Date.now() + 900 * DAY),
  });
  const server = await startServer((_, response) => void response.end(), {
    cert: `${certPem}\n${sent}`,
    key,
  });
  onTestFinished(() => server.stop());
  const dispatcher = new Agent({ connect: { ca: ca.certPem } });
  onTestFinished(() => dispatcher.destroy());
  const peers = watchPeers();
  onTestFinished(() => peers.stop());
  await (await request(server.url, { dispatcher })).body.dump();
  const url = new URL(server.url);
  return {
    host: url.host,
    peers,
    check: (later: number) => peers.check(url, Date.now() + later, 'tls.ca_file'),
  };
}

/** The CA once more, as another one vouches for it until then. */
async function crossSigned(ca: CertificateAuthority, by: CertificateAuthority, notAfter: Date) {
  const [subject, issuer] = [new X509Certificate(ca.certPem), new X509Certificate(by.certPem)];
  const pkcs8 = PemConverter.decodeFirst(by.keyPem);
  const cross = await X509CertificateGenerator.create({
    subject: subject.subjectName,
    issuer: issuer.subjectName,
    publicKey: subject.publicKey,
    signingKey: await crypto.subtle.importKey('pkcs8', pkcs8, ECDSA, false, ['sign']),
    signingAlgorithm: ECDSA,
    notBefore: new Date(notAfter.getTime() - 365 * DAY),
    notAfter,
    extensions: subject.extensions,
  });
  return new Certificate(Buffer.from(cross.rawData)).toString();
}

test('of the chain of a connection the first to end counts, be it the CA; only that of the leaf is a failure', async () => {
  const { host, peers, check } = await judged(await createCertificateAuthority('the CA'));
  expect(check(0)).toMatchObject({
    state: 'ok',
    words: expect.stringMatching(/^is for IP Address:127\.0\.0\.1, valid until \d{4}-/) as string,
  });
  const fix = "put the CA's new certificate into tls.ca_file";
  for (const [later, words] of [
    [360, 'ends soon'],
    [400, 'ended'],
  ] as const) {
    expect(check(later * DAY)).toMatchObject({
      state: 'warning',
      words: expect.stringContaining(`the certificate the CA in the chain of ${host} ${words}`) as string,
      fix,
    });
  }
  expect(check(901 * DAY)).toMatchObject({ state: 'failed', fix: `have it renewed at ${host}` });
  expect(peers.check(new URL('https://127.0.0.2/'), Date.now(), 'tls.ca_file')).toEqual({
    state: 'skipped',
    words: 'no certificate of 127.0.0.2 was seen',
  });
});

test('an old way up that has ended, and was not gone, is no failure', async () => {
  const ca = await createCertificateAuthority('the CA');
  const old = await createCertificateAuthority('the old CA');
  const { host, check } = await judged(ca, await crossSigned(ca, old, new Date(Date.now() - DAY)));
  expect(check(0)).toMatchObject({
    state: 'warning',
    words: expect.stringContaining(`the certificate the CA in the chain of ${host} ended`) as string,
    fix: `have it renewed, or left out, at ${host}`,
  });
});
