import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { connect, createServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startServer } from '../auth/support.ts';
import { answerOf, client, get, server } from './http-client-support.ts';

const never = new AbortController().signal;

/** The port of a process that listens and stands still, with as many connections as its backlog holds. */
async function startDeaf(): Promise<number> {
  const program =
    "const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port))";
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  child.kill('SIGSTOP');
  const port = Number(line.toString());
  for (let taken = 0; taken < 2; taken++) {
    const socket = connect(port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    await once(socket, 'connect');
  }
  return port;
}

function none(words: string, isLate = false) {
  return {
    kind: 'no answer',
    reason: expect.stringContaining(words) as string,
    ...(isLate && { tooSlow: true }),
  };
}

describe('no answer', () => {
  it.each<[string, RequestListener, string]>([
    ['hangs', () => {}, 'within 0.3 s'],
    ['hangs after its headers', (_, response) => void response.flushHeaders(), 'within 0.3 s'],
    ['closes at once', (request) => void request.socket.destroy(), 'closed the connection'],
    [
      'is cut in the middle',
      (_, response) => {
        response.writeHead(200, { 'content-length': '10' }).write('ab');
        setImmediate(() => response.destroy());
      },
      'closed the connection before its answer was complete',
    ],
    [
      'is cut in a chunk',
      (_, response) => {
        response.write('ab');
        setImmediate(() => response.destroy());
      },
      'closed the connection before its answer was complete',
    ],
  ])('%s', async (_, handler, words) => {
    const isLate = words.includes('within');
    expect(await answerOf(handler, { timeoutMs: isLate ? 300 : 10_000 })).toEqual(none(words, isLate));
  });

  it('trickles: the deadline is for all of it', async () => {
    const result = await answerOf(
      (_, response) => {
        const timer = setInterval(() => response.write('a'), 20);
        response.once('close', () => clearInterval(timer));
      },
      { timeoutMs: 300 },
    );
    expect(result).toEqual(none('within 0.3 s', true));
  });

  it('no connection: the other side does not take it', async () => {
    const url = `http://127.0.0.1:${await startDeaf()}/`;
    expect(await get(url, { timeoutMs: 4_000 })).toEqual(none('no connection to'));
  });

  it('no connection before the time of this request is up', async () => {
    const url = new URL(`http://127.0.0.1:${await startDeaf()}/`);
    const asked = client().http.ask({ method: 'GET', url, headers: {}, timeoutMs: 300 }, never);
    expect(await asked).toEqual(none('within 0.3 s', true));
  });

  it('no connection before the relay stops', async () => {
    const url = new URL(`http://127.0.0.1:${await startDeaf()}/`);
    const stopping = new AbortController();
    const asked = client().http.ask({ method: 'GET', url, headers: {} }, stopping.signal);
    stopping.abort();
    expect(await asked).toEqual(none('stopped waiting'));
  });

  it('nothing listens', async () => {
    const { url, stop } = await startServer(() => {});
    await stop();
    expect(await get(url)).toEqual(none('nothing listens at 127.0.0.1:'));
  });

  it('no such name', async () => {
    expect(await get('http://no-such-host.invalid/')).toEqual(none('no-such-host.invalid'));
  });

  it('TLS is not spoken', async () => {
    const { port } = await server(() => {});
    expect(await get(`https://127.0.0.1:${port}`)).toEqual(none('does not speak TLS'));
  });

  it('HTTP is not spoken', async () => {
    const ssh = createServer((socket) => void socket.resume().end('SSH-2.0-OpenSSH\r\n'));
    await once(ssh.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => void ssh.close());
    const address = ssh.address() as { port: number };
    expect(await get(`http://127.0.0.1:${address.port}`)).toEqual(none('is not HTTP'));
  });

  it('the relay stops', async () => {
    const arrived = Promise.withResolvers<void>();
    const { url } = await server(() => arrived.resolve());
    const stopping = new AbortController();
    const asked = client().http.ask({ method: 'GET', url: new URL(url), headers: {} }, stopping.signal);
    await arrived.promise;
    stopping.abort();
    expect(await asked).toEqual(none('stopped waiting'));
  });

  it('the client is closed', async () => {
    const arrived = Promise.withResolvers<void>();
    const { url } = await server(() => arrived.resolve());
    const { http } = client();
    const asked = http.ask({ method: 'GET', url: new URL(url), headers: {} }, never);
    await arrived.promise;
    await http.close();
    expect(await asked).toMatchObject({ kind: 'no answer' });
  });
});
