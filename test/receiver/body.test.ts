import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { onTestFinished, expect, test } from 'vitest';
import { BodyRoom } from '../../src/receiver/body-room.ts';
import { collectBody } from '../../src/receiver/body.ts';
import type { CollectResult, LeastPace } from '../../src/receiver/body.ts';

const MIB = 1024 * 1024;

type Collected = CollectResult & { held: number };

/** A server that collects bodies of a sender `s` into a room; gives what came of each. */
async function collecting({
  maxSize = 8 * MIB,
  room = new BodyRoom(64 * MIB),
  leastPace,
}: { maxSize?: number; room?: BodyRoom; leastPace?: LeastPace } = {}) {
  /** By the path of the request. */
  const waiting = new Map<string, { onBegin: () => void; onEnd: (result: Collected) => void }>();
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    const { onBegin, onEnd } = waiting.get(request.url!)!;
    const hold = room.hold('s');
    const result = collectBody(request, maxSize, hold, leastPace);
    onBegin();
    onEnd({ ...(await result), held: hold.bytes });
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return {
    room,
    send(head: string): { socket: Socket; begun: Promise<void>; result: Promise<Collected> } {
      const { promise: begun, resolve: onBegin } = Promise.withResolvers<void>();
      const { promise: result, resolve: onEnd } = Promise.withResolvers<Collected>();
      const path = `/${waiting.size}`;
      waiting.set(path, { onBegin, onEnd });
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(`POST ${path} HTTP/1.1\r\nhost: a\r\n${head}\r\n\r\n`);
      return { socket, begun, result };
    },
  };
}

const CHUNKED = 'transfer-encoding: chunked';

function joined(result: CollectResult): Buffer {
  if (!result.ok) throw new Error(result.why);
  return Buffer.concat(result.blocks, result.length);
}

test('a body in chunks of one byte is joined as it comes, and holds no more than its bytes and a block', async () => {
  const { send } = await collecting();
  const { socket, result } = send(CHUNKED);
  const body = Buffer.alloc(500_000).map((_, at) => at % 251);
  const before = process.memoryUsage();
  for (let at = 0; at < body.length; at += 1000) {
    const chunks = Array.from(
      body.subarray(at, at + 1000),
      (byte) => `1\r\n${String.fromCharCode(byte)}\r\n`,
    ).join('');
    if (!socket.write(chunks, 'latin1')) await once(socket, 'drain');
  }
  socket.write('0\r\n\r\n');
  const end = await result;
  expect(joined(end).equals(body)).toBe(true);
  // As one Buffer a chunk, it would be a hundred times the body.
  expect(end.ok && end.blocks.length).toBeLessThan(10);
  expect(end.held).toBeLessThanOrEqual(2 * body.length + 64 * 1024);
  expect(process.memoryUsage().heapUsed - before.heapUsed).toBeLessThan(40 * MIB);
});

test('a body whose length is known takes that much, large or small', async () => {
  const { send } = await collecting();
  for (const length of [0, 1, 300, 70_000, 3_000_001]) {
    const { socket, result } = send(`content-length: ${length}`);
    const body = Buffer.alloc(length, 'x');
    socket.write(body);
    const end = await result;
    expect(joined(end).equals(body)).toBe(true);
    expect(end.held).toBe(length);
    // Those that are read where they are have one block.
    const isSmall = length > 0 && length <= 64 * 1024;
    expect(!isSmall || (end.ok && end.blocks[0]!.buffer.byteLength === length)).toBe(true);
  }
});

test('a length that was only announced takes nothing', async () => {
  const { send, room } = await collecting({ room: new BodyRoom(200_000) });
  const idle = Array.from({ length: 20 }, () => send('content-length: 8000000'));
  await Promise.all(idle.map(({ begun }) => begun));
  expect(room.hold('s').take(199_000)).toBe(true);
  for (const { socket } of idle) socket.destroy();
  for (const { result } of idle) expect(await result).toMatchObject({ ok: false, why: 'aborted', held: 0 });
});

test('what is larger than allowed, or than there is room for', async () => {
  const { send, room } = await collecting({ maxSize: 100_000, room: new BodyRoom(150_000) });
  const large = send(CHUNKED);
  large.socket.write(`${(100_001).toString(16)}\r\n`);
  large.socket.write(Buffer.alloc(100_001));
  expect(await large.result).toMatchObject({ ok: false, why: 'too_large' });
  room.hold('s').take(140_000);
  const late = send('content-length: 100000');
  late.socket.write(Buffer.alloc(100_000));
  expect(await late.result).toMatchObject({ ok: false, why: 'busy' });
});

test('a body of which too little comes is given up, one that comes steadily is not', async () => {
  const leastPace = { bytes: 10, everyMs: 1000 };
  const { send } = await collecting({ leastPace });
  const steady = send('content-length: 400');
  const slow = send('content-length: 400');
  slow.socket.write('123456789');
  const sending = setInterval(() => steady.socket.write('x'.repeat(40)), 150);
  expect(await slow.result).toMatchObject({ ok: false, why: 'slow', bytes: 9, leastPace });
  const end = await steady.result;
  clearInterval(sending);
  expect(joined(end).toString()).toBe('x'.repeat(400));
});

test('a body that arrives makes room for another sender at once', async () => {
  const room = new BodyRoom(1_000_000);
  const { send } = await collecting({ room });
  const first = send('content-length: 950000');
  first.socket.write(Buffer.alloc(940_000));
  const good = room.hold('good');
  await expect.poll(() => room.hold('s').take(1), { timeout: 10_000 }).toBe(false);
  expect(good.take(300_000)).toBe(true);
  expect(await first.result).toMatchObject({ ok: false, why: 'evicted', held: 0 });
  expect(room.hold('s').take(500_000)).toBe(true);
});

test('connections that send more than a turn has time for all come to their end', async () => {
  const { send } = await collecting({ room: new BodyRoom(1024 * MIB) });
  const bodies = Array.from({ length: 8 }, () => {
    const { socket, result } = send(CHUNKED);
    socket.write(`${'1\r\nx\r\n'.repeat(50_000)}0\r\n\r\n`);
    return result;
  });
  const large = Array.from({ length: 8 }, () => {
    const { socket, result } = send(`content-length: ${7 * MIB}`);
    socket.write(Buffer.alloc(7 * MIB));
    return result;
  });
  for (const end of await Promise.all(bodies)) expect(joined(end).toString()).toBe('x'.repeat(50_000));
  for (const end of await Promise.all(large)) expect(end).toMatchObject({ ok: true, length: 7 * MIB });
});
