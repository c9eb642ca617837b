import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { diagnose } from './broken.ts';
import type { Case } from './broken.ts';
import { useShared } from './setting.ts';

/* What is wrong with the certificates of the receiver, and with its key. */

const shared = useShared();

const DAY = 86_400_000;
const NAMES = { commonName: 'relay', dnsNames: ['localhost'], ips: ['127.0.0.1'] };

const CASES: Case[] = [
  [
    'a key that everybody may read',
    ({ path }) => chmodSync(join(path, 'tls.key'), 0o604),
    ['failed receiver key file'],
    /tls\.key can be read by every user/,
    /chmod 600/,
  ],
  [
    'a key of another certificate',
    async ({ write }) => void write('tls.key', (await shared.ca.issue({ ...NAMES, usage: 'server' })).keyPem),
    ['failed receiver certificate'],
    /key_file: \S+tls\.key does not belong to the certificate in \S+tls\.crt/,
    /give the key that this certificate was issued for/,
  ],
  [
    'a certificate file without a certificate',
    ({ write }) => void write('tls.crt', 'no PEM\n'),
    ['failed receiver certificate'],
    /cert_file: \S+tls\.crt holds no certificate/,
    /give certificates in PEM/,
  ],
  [
    'a client CA file without a certificate',
    ({ write }) => void write('ca.crt', 'no PEM\n'),
    ['failed receiver certificate'],
    /client_ca_file: \S+ca\.crt holds no certificate/,
    /give certificates in PEM/,
  ],
  [
    'an encrypted key',
    ({ write }) =>
      void write(
        'tls.key',
        '-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n',
      ),
    ['failed receiver certificate'],
    /holds no private key that can be read/,
    /unencrypted private key in PEM/,
  ],
  [
    'a certificate that is over',
    async ({ certify }) =>
      certify(
        await shared.ca.issue({
          ...NAMES,
          usage: 'server',
          notBefore: new Date(Date.now() - 2 * DAY),
          notAfter: new Date(Date.now() - DAY),
        }),
      ),
    ['failed receiver certificate time'],
    /the certificate relay in \S+tls\.crt ended \d{4}-/,
    /renew it/,
  ],
  [
    'a certificate that ends soon',
    async ({ certify }) =>
      certify(
        await shared.ca.issue({
          ...NAMES,
          usage: 'server',
          notBefore: new Date(Date.now() - 60 * DAY),
          notAfter: new Date(Date.now() + 3 * DAY),
        }),
      ),
    ['warning receiver certificate time'],
    /the certificate relay in \S+tls\.crt ends soon/,
    /renew it/,
  ],
  [
    'a certificate that is not valid yet',
    async ({ certify }) =>
      certify(await shared.ca.issue({ ...NAMES, usage: 'server', notBefore: new Date(Date.now() + DAY) })),
    ['failed receiver certificate time'],
    /is valid only from \d{4}-/,
    /set the clock of this machine/,
  ],
  [
    'a certificate for clients',
    async ({ certify }) => certify(await shared.ca.issue({ ...NAMES, usage: 'client' })),
    ['failed receiver certificate usage'],
    /may not be used for serverAuth/,
    /usages: \[server auth\]/,
  ],
  [
    'a certificate without names',
    async ({ certify }) => certify(await shared.ca.issue({ commonName: 'localhost', usage: 'server' })),
    ['failed receiver certificate names'],
    /has no subject alternative names/,
    /by which clients reach the relay/,
  ],
  [
    'a chain of certificates that do not belong together',
    async ({ write }) => {
      const other = await shared.ca.issue({ ...NAMES, usage: 'server' });
      write('tls.crt', shared.receiver.certPem + other.certPem);
    },
    ['failed receiver certificate chain'],
    /certificate 1 \(.*relay\) was not issued by certificate 2/,
    /put the certificate itself first/,
  ],
  [
    "a client's certificate in the place of its CA",
    ({ write }) => void write('ca.crt', shared.receiver.certPem),
    ['failed client CA'],
    /no certificate in \S+ca\.crt can vouch for clients: the certificate relay is no CA/,
    /put the certificates of the CAs/,
  ],
];

test.each(CASES)('%s', async (...broken) => {
  expect(await diagnose(shared, broken)).toEqual(broken[2]);
});
