import { Agent, request } from 'undici';
import { expect, onTestFinished, test } from 'vitest';
import { watchPeers } from '../../src/doctor/peers.ts';
import { startServer } from '../auth/support.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';

const DAY = 86_400_000;

test('of the chain of a connection the first to end counts, be it the CA', async () => {
  const ca = await createCertificateAuthority('the CA');
  const notAfter = new Date(Date.now() + 900 * DAY);
  const { certPem: cert, keyPem: key } = await ca.issue({
    commonName: 'leaf',
    ips: ['127.0.0.1'],
    usage: 'server',
    notAfter,
  });
  const server = await startServer((_, response) => void response.end(), { cert, key });
  onTestFinished(() => server.stop());
  const dispatcher = new Agent({ connect: { ca: ca.certPem } });
  onTestFinished(() => dispatcher.destroy());
  const peers = watchPeers();
  onTestFinished(() => peers.stop());
  await (await request(server.url, { dispatcher })).body.dump();

  const url = new URL(server.url);
  const now = Date.now();
  expect(peers.check(url, now)).toMatchObject({
    state: 'ok',
    words: expect.stringMatching(/^is for IP Address:127\.0\.0\.1, valid until \d{4}-/) as string,
  });
  expect(peers.check(url, now + 360 * DAY)).toMatchObject({
    state: 'warning',
    words: expect.stringContaining(`the certificate the CA in the chain of ${url.host} ends soon`) as string,
    fix: `have it renewed at ${url.host}`,
  });
  expect(peers.check(new URL('https://127.0.0.2/'), now)).toMatchObject({ words: '127.0.0.2 shows none' });
});
