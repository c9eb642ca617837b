import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { writeKeyPair } from '../stack/certificates.ts';
import type { KeyPair } from '../stack/certificates.ts';
import { CLIENT_URI, readRawAnswer, startTestReceiver, statusOf, tlsOptions } from './harness.ts';
import { tracesProtobuf } from './payloads.ts';

const HOUR = 3_600_000;
const BODY = tracesProtobuf(['a']);
const HEAD = `POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${BODY.length}\r\n`;
const REQUEST = Buffer.concat([Buffer.from(`${HEAD}\r\n`), BODY]);
const LAST_REQUEST = Buffer.concat([Buffer.from(`${HEAD}connection: close\r\n\r\n`), BODY]);

/** A receiver by a clock that can be set, and a client whose certificate ends in an hour. */
async function start() {
  let ahead = 0;
  const relay = await startTestReceiver({ now: () => Date.now() + ahead });
  const notAfter = new Date(Math.ceil(Date.now() / 1000) * 1000 + HOUR);
  const issue = (until: Date) =>
    relay.certificates.ca.issue({ commonName: 'a', uris: [CLIENT_URI], usage: 'client', notAfter: until });
  return {
    ...relay,
    old: await issue(notAfter),
    renewed: await issue(new Date(notAfter.getTime() + 10 * HOUR)),
    ends: notAfter.toISOString().replace('.000', ''),
    /** Sets the receiver's clock: from now on it is this long after the end. */
    pass: (ms: number) => (ahead = notAfter.getTime() + ms - Date.now()),
  };
}

type Relay = Awaited<ReturnType<typeof start>>;

/** An answer on a connection that goes on. */
async function ask(socket: TLSSocket): Promise<string> {
  socket.write(REQUEST);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  return answer.toString('latin1').split('\r\n', 1)[0]!;
}

async function resume(
  { receiver, certificates }: Relay,
  pair: KeyPair,
  maxVersion: 'TLSv1.2' | 'TLSv1.3',
  session?: Buffer,
) {
  const options = { ...tlsOptions(certificates, pair), servername: 'localhost', maxVersion };
  const socket = connect({ host: '127.0.0.1', port: receiver.port, ...options, ...(session && { session }) });
  const nextSession = once(socket, 'session') as Promise<[Buffer]>;
  await once(socket, 'secureConnect');
  return { socket, reused: socket.isSessionReused(), nextSession };
}

test('on a kept connection: taken up to its end, then told why and closed; with a new one it goes on', async () => {
  const { dial, old, renewed, ends, pass, queue, seen, send } = await start();
  const kept = await dial(old);
  expect(await ask(kept)).toBe('HTTP/1.1 200 OK');
  pass(-1000);
  expect(await ask(kept)).toBe('HTTP/1.1 200 OK');
  pass(1);
  kept.write(REQUEST);
  const answer = await readRawAnswer(kept);
  expect(answer.status).toBe(403);
  expect(answer.headers['connection']).toBe('close');
  expect(statusOf(answer)).toEqual({
    code: 7,
    message: `the client certificate of ${CLIENT_URI} ended ${ends}: renew it, and connect again with the new one`,
  });
  expect(await seen((line) => line['reason'] === 'certificate_ended')).toMatchObject({
    sender: CLIENT_URI,
    level: 40,
  });
  expect(queue.records).toHaveLength(2);
  expect((await send({ body: BODY, client: renewed })).status).toBe(200);
});

test('a certificate that is not valid yet by the clock of the relay is told so', async () => {
  const { send, old, pass } = await start();
  pass(-3 * HOUR);
  const answer = await send({ body: BODY, client: old });
  expect(answer.status).toBe(403);
  expect(statusOf(answer).message).toMatch(
    /is valid only from .* on, and the relay's clock says .*compare the clocks/,
  );
});

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('%s', (version) => {
  test('a resumed session is held to the end of its certificate, and none is resumed after that', async () => {
    const relay = await start();
    const { old, renewed, pass, queue } = relay;
    const first = await resume(relay, old, version);
    expect(await ask(first.socket)).toBe('HTTP/1.1 200 OK');
    const [session] = await first.nextSession;

    pass(1);
    // TLS lets it in.
    const second = await resume(relay, old, version, session);
    expect(second.reused).toBe(true);
    second.socket.write(REQUEST);
    const answer = await readRawAnswer(second.socket);
    expect([answer.status, statusOf(answer).message]).toEqual([403, expect.stringContaining('ended')]);
    expect(queue.records).toHaveLength(1);

    // A client that goes on resuming would never show its new certificate.
    const third = await resume(relay, renewed, version, session);
    expect(third.reused).toBe(false);
    expect(await ask(third.socket)).toBe('HTTP/1.1 200 OK');
    const [next] = await third.nextSession;
    const fourth = await resume(relay, renewed, version, next);
    expect(fourth.reused).toBe(true);
    expect(await ask(fourth.socket)).toBe('HTTP/1.1 200 OK');
  });

  test('the same with the client of OpenSSL', async () => {
    const relay = await start();
    const { pass, folder, receiver, certificates, queue, old } = relay;
    const files = {
      cert: join(folder, 'old.crt'),
      key: join(folder, 'old.key'),
      session: join(folder, 'session'),
    };
    await writeKeyPair(files.cert, files.key, old);
    const shown = ['-cert', files.cert, '-key', files.key, '-CAfile', certificates.caFile];
    const protocol = version === 'TLSv1.2' ? '-tls1_2' : '-tls1_3';
    const sClient = (...options: string[]) =>
      exchangeByOpenssl([
        's_client',
        '-connect',
        `127.0.0.1:${receiver.port}`,
        '-ign_eof',
        protocol,
        ...shown,
        ...options,
      ]);
    expect(await sClient('-sess_out', files.session)).toMatch(/New, TLS[^]*HTTP\/1\.1 200 OK/);
    expect(await sClient('-sess_in', files.session)).toMatch(/Reused, TLS[^]*HTTP\/1\.1 200 OK/);
    pass(1);
    expect(await sClient('-sess_in', files.session)).toMatch(
      /Reused, TLS[^]*HTTP\/1\.1 403 Forbidden[^]*the client certificate of .* ended/,
    );
    expect(await sClient('-sess_in', files.session)).toMatch(/New, TLS[^]*HTTP\/1\.1 403 Forbidden/);
    expect(queue.records).toHaveLength(2);
  });
});

test('one certificate that ends costs the sessions of others at most once', async () => {
  const relay = await start();
  const { old, renewed, pass, dial } = relay;
  const kept = [await dial(old), await dial(old)] as const;
  pass(1);
  kept[0].write(REQUEST);
  expect((await readRawAnswer(kept[0])).status).toBe(403);
  const other = await resume(relay, renewed, 'TLSv1.3');
  const [session] = await other.nextSession;
  kept[1].write(REQUEST);
  expect((await readRawAnswer(kept[1])).status).toBe(403);
  expect((await resume(relay, renewed, 'TLSv1.3', session)).reused).toBe(true);
});

/** What the command says after a request to a server that ends the connection. */
async function exchangeByOpenssl(args: readonly string[]): Promise<string> {
  const child = spawn('openssl', args, { stdio: ['pipe', 'pipe', 'ignore'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stdin.on('error', () => {});
  child.stdin.write(LAST_REQUEST);
  await once(child, 'close');
  return Buffer.concat(chunks).toString('latin1');
}
