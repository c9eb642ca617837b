import { KeyUsageFlags } from '@peculiar/asn1-x509';
import { once } from 'node:events';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { describe, expect, test, vi } from 'vitest';
import { keepTlsFresh, loadTls } from '../../src/receiver/tls.ts';
import {
  createCertificateAuthority,
  writeDevelopmentCertificates,
  writeKeyPair,
} from '../stack/certificates.ts';
import {
  CLIENT_URI,
  memoryLog,
  readRawAnswer,
  startTestReceiver,
  temporaryFolder,
  tlsOptions,
} from './harness.ts';
import { tracesProtobuf } from './payloads.ts';

const BODY = tracesProtobuf(['a']);

/** What becomes of a connection that asks for something: `answered`, or the code of its error. */
async function attempt(port: number, options: ConnectionOptions): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ...options });
  socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'));
  try {
    const { status } = await readRawAnswer(socket);
    return status > 0 ? 'answered' : 'closed';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

const contains = (words: string) => expect.stringContaining(words) as string;

describe('the handshake refuses', () => {
  test('no client certificate, another CA, one that has ended, one not yet good, one for servers', async () => {
    const { receiver, certificates, queue, seen } = await startTestReceiver();
    const { ca } = certificates;
    const hour = 3_600_000;
    const subject = { commonName: 'a', uris: [CLIENT_URI], usage: 'client' as const };
    const otherCa = await createCertificateAuthority('mlflow-trace-relay development CA');
    const over = { notBefore: new Date(Date.now() - 2 * hour), notAfter: new Date(Date.now() - hour) };
    const early = { notBefore: new Date(Date.now() + hour) };
    const cases = [
      ['ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', undefined, contains('sent no certificate')],
      [
        'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
        await otherCa.issue(subject),
        contains('not signed by a CA in client_ca_file'),
      ],
      ['CERT_HAS_EXPIRED', await ca.issue({ ...subject, ...over }), contains('has ended: renew it')],
      ['CERT_NOT_YET_VALID', await ca.issue({ ...subject, ...early }), contains('not valid yet')],
      [
        'INVALID_PURPOSE',
        await ca.issue({ ...subject, usage: 'server' }),
        contains('its extended key usage lacks client auth'),
      ],
      [
        'INVALID_PURPOSE',
        await ca.issue({ ...subject, keyUsages: KeyUsageFlags.keyEncipherment }),
        contains('its key usage lacks digitalSignature'),
      ],
    ] as const;
    for (const [reason, pair, words] of cases) {
      const outcome = await attempt(receiver.port, tlsOptions(certificates, pair));
      expect([reason, outcome]).not.toEqual([reason, 'answered']);
      const line = await seen(({ msg, reason: given }) => msg === 'connection refused' && given === reason);
      expect(line).toMatchObject({ level: 40, remote: '127.0.0.1', detail: words });
    }
    expect(await attempt(receiver.port, tlsOptions(certificates, await ca.issue(subject)))).toBe('answered');
    expect(queue.records).toEqual([]);
  });

  test('TLS 1.1, but not 1.2', async () => {
    const { receiver, certificates, client } = await startTestReceiver();
    const options = tlsOptions(certificates, client);
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const;
    expect(await attempt(receiver.port, { ...options, ...old })).toBe('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
    expect(await attempt(receiver.port, { ...options, maxVersion: 'TLSv1.2' })).toBe('answered');
  });

  test('renegotiation: who a client is, is decided once', async () => {
    const { dial, receiver, certificates, client } = await startTestReceiver();
    expect((await dial()).getProtocol()).toBe('TLSv1.3');
    const socket = connect({
      host: '127.0.0.1',
      port: receiver.port,
      servername: 'localhost',
      ...tlsOptions(certificates, client),
      maxVersion: 'TLSv1.2',
    });
    await once(socket, 'secureConnect');
    const failed = new Promise<Error>((resolve) => socket.on('error', resolve));
    socket.renegotiate({}, (error) => {
      if (error === null) socket.destroy(new Error('renegotiated'));
    });
    expect((await failed).message).toMatch(/no renegotiation/i);
  });

  test('many of them are a few lines', async () => {
    const { receiver, certificates, lines, seen } = await startTestReceiver();
    for (let i = 0; i < 10; i += 1) await attempt(receiver.port, tlsOptions(certificates, undefined));
    await seen(({ msg }) => msg === 'connection refused');
    expect(lines.filter(({ msg }) => msg === 'connection refused')).toHaveLength(1);
  });
});

async function files() {
  const folder = temporaryFolder();
  const { ca, certFile, keyFile, caFile } = await writeDevelopmentCertificates(folder);
  return { folder, ca, certFile, keyFile, clientCaFile: caFile, text: join(folder, 'text') };
}

describe('loadTls', () => {
  test('takes a pair with a CA bundle', async () => {
    const set = await files();
    const other = await createCertificateAuthority('other');
    writeFileSync(set.clientCaFile, `# two\n${set.ca.certPem}\n${other.certPem}`);
    expect(loadTls(set)).toMatchObject({ minVersion: 'TLSv1.2' });
  });

  test.each([
    ['certFile', 'cert_file', undefined, 'cannot be read (ENOENT'],
    ['keyFile', 'key_file', undefined, 'cannot be read (ENOENT'],
    ['clientCaFile', 'client_ca_file', undefined, 'cannot be read (ENOENT'],
    ['certFile', 'cert_file', 'hello', 'holds no certificate'],
    ['clientCaFile', 'client_ca_file', '', 'holds no certificate'],
    ['keyFile', 'key_file', 'hello', 'holds no private key'],
    [
      'clientCaFile',
      'client_ca_file',
      '-----BEGIN X509 CRL-----\na\n-----END X509 CRL-----\n',
      'holds a revocation list',
    ],
    [
      'certFile',
      'cert_file',
      '-----BEGIN CERTIFICATE-----\naGVsbG8=\n',
      'holds a CERTIFICATE without its end',
    ],
    [
      'clientCaFile',
      'client_ca_file',
      '-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n',
      'holds a certificate that cannot be read (number 1)',
    ],
  ] as const)('%s that is no such thing', async (name, key, content, words) => {
    const set = await files();
    if (content === undefined) rmSync(set[name]);
    else writeFileSync(set[name], content);
    expect(() => loadTls(set)).toThrow(
      expect.objectContaining({
        code: 'CERTIFICATE_INVALID',
        message: expect.stringContaining(`receiver.tls.${key}: ${set[name]} ${words}`),
      }),
    );
  });

  test('a key of another certificate', async () => {
    const set = await files();
    copyFileSync(join(set.folder, 'client.key'), set.keyFile);
    expect(() => loadTls(set)).toThrow(
      expect.objectContaining({
        code: 'CERTIFICATE_INVALID',
        message: expect.stringContaining(
          `${set.keyFile} does not belong to the certificate in ${set.certFile}`,
        ),
      }),
    );
  });

  test('a receiver does not start with it', async () => {
    const set = await files();
    rmSync(set.keyFile);
    await expect(startTestReceiver({ tls: set })).rejects.toMatchObject({ code: 'CERTIFICATE_INVALID' });
  });
});

const unwanted = () => expect.unreachable('it was stopped');
const reloaded = ({ msg }: { msg: string }) => msg.startsWith('new TLS files are in use');

describe('when the files change', () => {
  test('new connections get the new certificate', async () => {
    const { certificates, client, dial, seen } = await startTestReceiver();
    const { ca, certFile, keyFile } = certificates;
    const before = await dial();
    const next = await ca.issue({ commonName: 'next', dnsNames: ['localhost'], usage: 'server' });
    const closed = once(before, 'close');
    before.resume();
    await writeKeyPair(certFile, keyFile, next);
    await seen(reloaded);
    expect((await dial(client)).getPeerCertificate().subject.CN).toBe('next');
    await closed;
  });

  test('clients of the old CA are out: on open connections and with tickets of old sessions', async () => {
    const { receiver, certificates, client, dial, send, seen, queue } = await startTestReceiver();
    const agent = new Agent({ keepAlive: true });
    expect((await send({ body: BODY, agent })).status).toBe(200);
    const idle = await dial();
    const session = await sessionOf(receiver.port, tlsOptions(certificates, client));
    const busy = await dial();
    const held = queue.hold();
    busy.write(
      `POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${BODY.length}\r\n\r\n`,
    );
    busy.write(BODY);
    await held.arrived;

    const idleClosed = once(idle.resume(), 'close');
    const newCa = await createCertificateAuthority('new CA');
    writeFileSync(certificates.caFile, newCa.certPem);
    await seen(reloaded);
    await idleClosed;

    // What was in hand is finished, and its connection ends with it.
    held.release();
    const answer = await readRawAnswer(busy);
    expect(answer.status).toBe(200);
    expect(answer.headers['connection']).toBe('close');

    await expect(send({ body: BODY, agent })).rejects.toThrow(/./);
    expect(await attempt(receiver.port, { ...tlsOptions(certificates, client), session })).not.toBe(
      'answered',
    );
    const welcome = await newCa.issue({ commonName: 'welcome', usage: 'client' });
    expect((await send({ body: BODY, client: welcome })).status).toBe(200);
    expect(queue.records.at(-1)!.sender).toBe('CN=welcome');
    agent.destroy();
  });

  test('a resumed session of the same CA is known by its certificate', async () => {
    const { receiver, certificates, client, queue } = await startTestReceiver();
    const options = tlsOptions(certificates, client);
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const session = await sessionOf(receiver.port, { ...options, maxVersion });
      const socket = connect({
        host: '127.0.0.1',
        port: receiver.port,
        servername: 'localhost',
        ...options,
        maxVersion,
        session,
      });
      await once(socket, 'secureConnect');
      expect(socket.isSessionReused()).toBe(true);
      socket.write(
        `POST /v1/traces HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${BODY.length}\r\n\r\n`,
      );
      socket.write(BODY);
      expect((await readRawAnswer(socket)).status).toBe(200);
      expect(queue.records.at(-1)!.sender).toBe(CLIENT_URI);
    }
  });

  test('a revocation list changes nothing but the log, and is not looked for in silence', async () => {
    const { certificates, send, seen } = await startTestReceiver();
    const list = '-----BEGIN X509 CRL-----\naGVsbG8=\n-----END X509 CRL-----\n';
    writeFileSync(certificates.caFile, certificates.ca.certPem + list);
    const line = await seen(({ level }) => level === 50);
    expect(line['reason']).toMatch(
      /^receiver\.tls\.client_ca_file: .*ca\.crt holds a revocation list .*take it out/,
    );
    expect((await send({ body: BODY })).status).toBe(200);
  });

  test('nothing is taken up after a stop, though it was seen just before', async () => {
    const { certFile, keyFile, clientCaFile, ca } = await files();
    const { log, lines } = memoryLog();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
    try {
      const tls = { certFile, keyFile, clientCaFile };
      const stop = keepTlsFresh(tls, { server: unwanted, log, onReload: unwanted });
      writeFileSync(clientCaFile, `# changed\n${ca.certPem}`);
      await vi.advanceTimersByTimeAsync(1_000);
      // Once it is seen, it waits for what else changes.
      await vi.waitUntil(() => vi.getTimerCount() === 2);
      stop();
      expect(vi.getTimerCount()).toBe(0);
      await vi.advanceTimersByTimeAsync(60_000);
    } finally {
      vi.useRealTimers();
    }
    expect(lines).toEqual([]);
  });

  test('files that cannot serve change nothing but the log', async () => {
    const { certificates, send, seen } = await startTestReceiver();
    writeFileSync(certificates.certFile, 'broken');
    const line = await seen(({ level }) => level === 50);
    expect(line['reason']).toContain(certificates.certFile);
    expect((await send({ body: BODY })).status).toBe(200);
  });
});

/** A session to resume; in TLS 1.3 it comes after the handshake. */
async function sessionOf(port: number, options: ConnectionOptions): Promise<Buffer> {
  const socket: TLSSocket = connect({ host: '127.0.0.1', port, servername: 'localhost', ...options });
  const [session] = (await once(socket, 'session')) as [Buffer];
  socket.destroy();
  return session;
}
