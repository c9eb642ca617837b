import { once } from 'node:events';
import { mkdtemp, rename, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import type { TlsFiles } from '../../src/destinations/http-client.ts';
import { RelayError } from '../../src/errors.ts';
import { keepOpen } from '../auth/support.ts';
import { answerOf, client, get, server } from './http-client-support.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import type { CertificateAuthority, KeyPair } from '../stack/certificates.ts';

// Above the deadlines of what is polled for.
vi.setConfig({ testTimeout: 60_000 });

const never = new AbortController().signal;

it('sends what it is given, and reads the answer whole', async () => {
  const seen: unknown[] = [];
  const { url } = await server(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    seen.push(
      request.method,
      request.url,
      request.headers['x-a'],
      Buffer.concat(chunks),
      request.headers['content-length'],
    );
    response.writeHead(503, { 'retry-after': '7', location: '/x', 'content-type': 'text/plain' });
    response.write('a');
    setImmediate(() => response.end('b'));
  });
  const { http } = client();
  const result = await http.ask(
    { method: 'POST', url: new URL('/a/b?c', url), headers: { 'x-a': '1' }, body: Buffer.from([0, 1, 2]) },
    never,
  );
  expect(seen).toEqual(['POST', '/a/b?c', '1', Buffer.from([0, 1, 2]), '3']);
  expect(result).toEqual({
    kind: 'answer',
    status: 503,
    contentType: 'text/plain',
    location: '/x',
    retryAfter: '7',
    date: expect.any(String) as string,
    body: Buffer.from('ab'),
  });
});

it('keeps connections for the next requests', async () => {
  const sockets = new Set<unknown>();
  const { url } = await server((request, response) => {
    sockets.add(request.socket);
    response.end();
  });
  const { http } = client();
  for (let i = 0; i < 20; i++) await http.ask({ method: 'GET', url: new URL(url), headers: {} }, never);
  // The first may not be free yet when the second request begins.
  expect(sockets.size).toBeLessThanOrEqual(2);
});

it('does not follow a redirect', async () => {
  const paths: unknown[] = [];
  const result = await answerOf((request, response) => {
    paths.push(request.url);
    response.writeHead(302, { location: '/login' }).end();
  });
  expect(result).toMatchObject({ kind: 'answer', status: 302, location: '/login' });
  expect(paths).toEqual(['/']);
});

describe('limit', () => {
  it('is the largest that is read', async () => {
    const result = await answerOf((_, response) => response.end(Buffer.alloc(1_000)));
    expect(result).toMatchObject({ kind: 'answer', body: Buffer.alloc(1_000) });
  });

  it('ends an answer without an end, and the connection with it', async () => {
    const gone = Promise.withResolvers<void>();
    const result = await answerOf((_, response) => {
      response.once('close', gone.resolve);
      const more = () =>
        void (response.write(Buffer.alloc(10_000)) ? setImmediate(more) : response.once('drain', more));
      more();
    });
    expect(result).toMatchObject({
      kind: 'too large',
      status: 200,
      reason: expect.stringContaining('1000 bytes'),
    });
    await gone.promise;
  });

  it('counts after decompression, which nobody asked for', async () => {
    let accepted: unknown;
    const compressed =
      (size: number): RequestListener =>
      (request, response) => {
        accepted = request.headers['accept-encoding'];
        response.setHeader('content-encoding', 'gzip');
        response.end(gzipSync(Buffer.alloc(size)));
      };
    expect(await answerOf(compressed(1_000))).toMatchObject({ kind: 'answer', body: Buffer.alloc(1_000) });
    expect(await answerOf(compressed(100_000))).toMatchObject({ kind: 'too large' });
    expect(accepted).toBe('identity');
  });

  it.each([
    ['as it is', (body: Buffer) => body, {}],
    ['compressed', (body: Buffer) => gzipSync(body), { 'content-encoding': 'gzip' }],
    // Its beginning is decompressed though its end is not there.
    [
      'compressed and hardly smaller',
      (body: Buffer) => gzipSync(body, { level: 0 }),
      { 'content-encoding': 'gzip' },
    ],
  ])('of an error is how much of its beginning is read, %s', async (_, encode, headers) => {
    const body = Buffer.alloc(1_000_000, 'the beginning tells what is wrong; ');
    const closed = Promise.withResolvers<void>();
    const result = await answerOf(
      (_request, response) => {
        response.once('close', closed.resolve);
        response.writeHead(500, headers).end(encode(body));
      },
      { maxResponseSize: 4_000_000 },
    );
    expect(result).toMatchObject({ kind: 'answer', status: 500, isCut: true });
    const read = result.kind === 'answer' ? result.body : Buffer.alloc(0);
    expect(read.equals(body.subarray(0, read.length))).toBe(true);
    expect(read.length).toBeGreaterThan(15_000);
    expect(read.length).toBeLessThanOrEqual(16_384);
    await closed.promise;
  });

  it('of an error is not over that of all answers', async () => {
    const result = await answerOf((_, response) => response.writeHead(500).end(Buffer.alloc(2_000)));
    expect(result).toMatchObject({ kind: 'answer', body: Buffer.alloc(1_000), isCut: true });
  });

  it('leaves alone what is not what it says', async () => {
    const result = await answerOf((_, response) =>
      response.setHeader('content-encoding', 'gzip').end('plain'),
    );
    expect(result).toMatchObject({ kind: 'answer', body: Buffer.from('plain') });
  });
});

describe('TLS', () => {
  let directory: string;
  let ca: CertificateAuthority;
  let other: CertificateAuthority;
  let serverPair: KeyPair;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'http-client-'));
    ca = await createCertificateAuthority('ca');
    other = await createCertificateAuthority('other');
    serverPair = await ca.issue({ commonName: 'mlflow', ips: ['127.0.0.1'], usage: 'server' });
  });

  /** Replaces a file as a whole, as secrets are. */
  async function write(name: string, text: string): Promise<string> {
    const file = join(directory, name);
    await writeFile(`${file}.new`, text);
    await rename(`${file}.new`, file);
    return file;
  }

  async function tlsServer(clients: 'any' | 'verified', pair = serverPair) {
    return await server(
      (request, response) =>
        response.end((request.socket as TLSSocket).getPeerCertificate().subject?.CN ?? 'nobody'),
      {
        cert: pair.certPem,
        key: pair.keyPem,
        ...(clients === 'verified' ? { requestCert: true, rejectUnauthorized: true, ca: ca.certPem } : {}),
      },
    );
  }

  it('trusts the given CA, and no other', async () => {
    const { url } = await tlsServer('any');
    const caFile = await write('ca.crt', ca.certPem);
    const otherFile = await write('other.crt', other.certPem);
    expect(await get(url, { tls: { caFile } })).toMatchObject({ kind: 'answer', status: 200 });
    for (const tls of [{}, { caFile: otherFile }]) {
      expect(await get(url, { tls })).toEqual({
        kind: 'no answer',
        reason: expect.stringContaining("set ca_file to the CA's certificate"),
      });
    }
  });

  it('wants the certificate to be for the name it asks', async () => {
    const { url } = await tlsServer(
      'any',
      await ca.issue({ commonName: 'x', dnsNames: ['x.test'], usage: 'server' }),
    );
    const caFile = await write('ca.crt', ca.certPem);
    expect(await get(url, { tls: { caFile } })).toEqual({
      kind: 'no answer',
      reason: expect.stringContaining('is for other names'),
    });
  });

  it('shows its client certificate, and a new one when the files change', async () => {
    const { url } = await tlsServer('verified');
    const first = await ca.issue({ commonName: 'first', usage: 'client' });
    const second = await ca.issue({ commonName: 'second', usage: 'client' });
    const tls = {
      caFile: await write('ca.crt', ca.certPem),
      certFile: await write('client.crt', first.certPem),
      keyFile: await write('client.key', first.keyPem),
    };
    expect(await get(url, { tls: { caFile: tls.caFile } })).toEqual({
      kind: 'no answer',
      reason: expect.stringContaining('closed the connection'),
    });

    const { http, lines } = client({ tls });
    const whoAmI = async () => {
      const result = await http.ask({ method: 'GET', url: new URL(url), headers: {} }, never);
      return result.kind === 'answer' ? result.body.toString() : result.reason;
    };
    expect(await whoAmI()).toBe('first');

    // For a moment the key is that of another certificate: the pair in use stays.
    await write('client.key', second.keyPem);
    await expect
      .poll(() => lines.map(({ msg }) => msg), { timeout: 30_000 })
      .toEqual([expect.stringContaining('the old ones stay')]);
    expect(await whoAmI()).toBe('first');
    await write('client.crt', second.certPem);
    await expect.poll(whoAmI, { timeout: 30_000 }).toBe('second');
    expect(lines.at(-1)).toMatchObject({
      level: 30,
      msg: expect.stringContaining('new connections use them'),
    });
  });

  it('closes the connections of the certificate before', async () => {
    const closed: Promise<unknown>[] = [];
    const { url } = await server(
      (request, response) => {
        closed.push(once(request.socket, 'close'));
        keepOpen(request);
        response.writeHead(200, { 'keep-alive': 'timeout=600' }).end();
      },
      { cert: serverPair.certPem, key: serverPair.keyPem },
    );
    const caFile = await write('renewed-ca.crt', ca.certPem);
    const { http } = client({ tls: { caFile } });
    await http.ask({ method: 'GET', url: new URL(url), headers: {} }, never);
    await write('renewed-ca.crt', `${ca.certPem}\n${other.certPem}`);
    await closed[0];
    expect(closed).toHaveLength(1);
  });

  it('keeps the CA it has when the file becomes none', async () => {
    const { url } = await tlsServer('any');
    const caFile = await write('kept-ca.crt', ca.certPem);
    const { http, lines } = client({ tls: { caFile } });
    const ask = () => http.ask({ method: 'GET', url: new URL(url), headers: {} }, never);
    await write('kept-ca.crt', 'no PEM');
    await expect
      .poll(() => lines.map(({ msg }) => msg), { timeout: 30_000 })
      .toEqual([expect.stringMatching(/the old ones stay: .*tls\.ca_file: .* holds no certificate/)]);
    expect(await ask()).toMatchObject({ kind: 'answer', status: 200 });
  });

  it('takes a CA in the form that OpenSSL calls trusted', async () => {
    const caFile = await write('trusted.crt', ca.certPem.replaceAll(' CERTIFICATE', ' TRUSTED CERTIFICATE'));
    expect(() => client({ tls: { caFile } })).not.toThrow();
  });

  it('does not start with files that cannot be used', async () => {
    const { keyPem } = await ca.issue({ commonName: 'x', usage: 'client' });
    const { certPem } = await ca.issue({ commonName: 'y', usage: 'client' });
    const certFile = await write('x.crt', certPem);
    const missing = join(directory, 'missing.crt');
    const garbage = await write('garbage.crt', 'no PEM');
    const damaged = await write(
      'damaged.crt',
      `${ca.certPem}\n-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n`,
    );
    const wrong: [TlsFiles, string][] = [
      [{ caFile: missing }, `tls.ca_file: ${missing} cannot be read: ENOENT`],
      [{ caFile: garbage }, `tls.ca_file: ${garbage} holds no certificate`],
      [{ caFile: damaged }, `tls.ca_file: ${damaged} holds a certificate that cannot be read (number 2)`],
      [{ certFile, keyFile: await write('x.key', 'no PEM') }, `tls.cert_file and key_file: ${certFile} and`],
      [{ certFile, keyFile: await write('y.key', keyPem) }, 'y.key cannot be used:'],
    ];
    for (const [tls, words] of wrong) {
      const start = () => client({ tls });
      expect(start).toThrow(RelayError);
      expect(start).toThrow(expect.objectContaining({ code: 'CERTIFICATE_INVALID' }));
      expect(start).toThrow(
        `destinations.main.${words.startsWith('tls') ? words : 'tls.cert_file and key_file'}`,
      );
      expect(start).toThrow(words);
    }
  });
});
