import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { checkClientCas, checkNames, checkTimes, checkUsage } from '../../src/doctor/certificates.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import type { CertificateAuthority } from '../stack/certificates.ts';

const DAY = 86_400_000;
const now = Date.now();

describe('certificates', () => {
  let authority: CertificateAuthority;
  let ca: X509Certificate;
  beforeAll(async () => {
    authority = await createCertificateAuthority('ca');
    ca = new X509Certificate(authority.certPem);
  });
  const issued = async (request: Partial<Parameters<CertificateAuthority['issue']>[0]>) =>
    new X509Certificate((await authority.issue({ commonName: 'c', usage: 'server', ...request })).certPem);

  test.each([
    ['10.0.0.1', 'ok'],
    ['10.0.0.2', 'warning'],
    ['relay.example', 'ok'],
    ['other.example', 'warning'],
    // Where everything, or this machine alone, is listened to, the names of clients are not known.
    ['0.0.0.0', 'ok'],
    ['::', 'ok'],
    ['::1', 'ok'],
    ['127.0.0.1', 'ok'],
  ])('for 10.0.0.1 and relay.example, listening at %s: %s', async (host, state) => {
    const certificate = await issued({ ips: ['10.0.0.1'], dnsNames: ['relay.example'] });
    expect(checkNames(certificate, host, 'tls.crt').state).toBe(state);
  });

  test.each([
    ['server', 'serverAuth', 'ok'],
    ['server', 'clientAuth', 'failed'],
    ['client', 'serverAuth', 'failed'],
    ['client', 'clientAuth', 'ok'],
    ['both', 'serverAuth', 'ok'],
  ] as const)('for %s as %s: %s', async (usage, as, state) => {
    expect(checkUsage(await issued({ usage }), as, 'tls.crt').state).toBe(state);
  });

  test('one without extended usages may be used for all', () => {
    expect(checkUsage(ca, 'serverAuth', 'tls.crt').state).toBe('ok');
  });

  test.each([
    ['of a year, 15 days before its end', 365, 15, 'ok'],
    ['of a year, 13 days before its end', 365, 13, 'warning'],
    ['of a day, half a day before its end', 1, 0.5, 'ok'],
    ['of a day, five hours before its end', 1, 5 / 24, 'warning'],
    ['of a day, an hour after its end', 1, -1 / 24, 'failed'],
  ])('%s: %s', async (_, life, left, state) => {
    const notAfter = new Date(now + left * DAY);
    const notBefore = new Date(notAfter.getTime() - life * DAY);
    expect(checkTimes([await issued({ notBefore, notAfter })], now, 'tls.crt').state).toBe(state);
  });

  test('of a chain the first to end counts', async () => {
    const chain = [await issued({}), await issued({ commonName: 'short', notAfter: new Date(now + 60_000) })];
    expect(checkTimes(chain, now, 'tls.crt')).toMatchObject({
      state: 'warning',
      words: expect.stringContaining('the certificate short in tls.crt ends soon') as string,
    });
  });

  test('CAs of clients that are over, or are none', async () => {
    const leaf = await issued({});
    const later = now + 3 * 365 * DAY;
    expect(checkClientCas([ca], now, 'ca.crt').state).toBe('ok');
    expect(checkClientCas([ca, leaf], now, 'ca.crt')).toMatchObject({
      state: 'warning',
      words: 'in ca.crt the certificate c is no CA',
    });
    expect(checkClientCas([ca], later, 'ca.crt')).toMatchObject({
      state: 'failed',
      words: expect.stringMatching(
        /can vouch for clients: the certificate ca is valid from .* only/,
      ) as string,
    });
  });
});
