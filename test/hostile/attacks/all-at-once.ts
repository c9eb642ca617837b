import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Arena } from '../arena.ts';
import { atMost } from '../attack.ts';
import type { Attack, Form } from '../attack.ts';
import { connectBare } from '../attacker.ts';
import { MIB } from '../bodies.ts';

/**
 * What is promised: nothing that a client sends holds the event loop for longer than 50 ms at a time. CPU time. Beside other
 * tests a turn takes longer, as they share the caches of the processor; what is found then is a turn without a bound.
 */
const LONGEST_TURN_MS = { full: 50, short: 500 } as const;
/** The relay stands still for a part of the time that others wait. */
const MOST_P50_MS = 2_000;
const AT_ONCE = 50;
const SETTLE_MS = 4_000;

const POST =
  'POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n';
const CHUNKED =
  'POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n';
const HEAD_OF_A_MIB = `POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${MIB}\r\n\r\n`;

type Plan = {
  readonly what: string;
  readonly count: number;
  readonly open: (arena: Arena) => Promise<Socket | undefined>;
  /** What is sent on each while the relay stands still; undefined: it is closed. */
  readonly bytes: () => Promise<string | Uint8Array | undefined>;
};

const bare: Plan['open'] = ({ relay }) => connectBare(relay.url);
const sender: Plan['open'] = ({ attacker }) => attacker.connect();

/** What is cheap one by one, on so many connections that one turn of the event loop finds all of it. */
function atOnce(form: Form, { what, count, open, bytes }: Plan): Attack {
  return {
    name: `${what}, on ${count.toLocaleString('en-US')} connections at once`,
    mostP50Ms: MOST_P50_MS,
    deadlineMs: 120_000,
    async run(arena) {
      const sockets: Socket[] = [];
      while (sockets.length < count && !arena.isDead()) {
        const opened = await Promise.all(Array.from({ length: AT_ONCE }, () => open(arena)));
        sockets.push(...opened.filter((socket) => socket !== undefined));
      }
      const sent = await bytes();
      arena.beginWatch();
      await arena.whileStopped(() => {
        for (const socket of sockets) {
          if (sent === undefined) socket.destroy();
          else socket.write(sent);
        }
      });
      await arena.watch(SETTLE_MS);
      for (const socket of sockets) socket.destroy();
      return { answer: `${sockets.length} connections` };
    },
    judge: ({ longestTurnMs }) => [
      atMost('longest turn of the event loop, CPU time', longestTurnMs, LONGEST_TURN_MS[form], ' ms'),
    ],
  };
}

/** The first flight of a client. */
async function clientHello(): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const { port } = server.address() as AddressInfo;
  const client = connectTls({ port, host: '127.0.0.1', servername: 'relay' }).on('error', () => {});
  const [socket] = await accepted;
  const [hello] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return hello;
}

export function allAtOnceAttacks(form: Form): Attack[] {
  const many = form === 'short' ? 300 : 1_000;
  const few = form === 'short' ? 30 : 60;
  return [
    atOnce(form, { what: 'the first bytes of TLS', count: many, open: bare, bytes: clientHello }),
    atOnce(form, { what: 'a request', count: many, open: sender, bytes: async () => POST }),
    atOnce(form, {
      what: 'a request of 2,600 headers',
      count: many,
      open: sender,
      bytes: async () => manyHeaders(),
    }),
    atOnce(form, { what: 'an end', count: many, open: sender, bytes: async () => undefined }),
    atOnce(form, {
      what: '20,000 chunks of one byte',
      count: few,
      open: sender,
      bytes: async () => CHUNKED + '1\r\nx\r\n'.repeat(20_000),
    }),
    atOnce(form, {
      what: 'a MiB of empty ResourceSpans',
      count: few,
      open: sender,
      bytes: async () =>
        Buffer.concat([Buffer.from(HEAD_OF_A_MIB), Buffer.alloc(MIB, Buffer.from([0x0a, 0]))]),
    }),
  ];
}

/** Of the least bytes that a header has; nearly as many bytes as a request may have of them. */
function manyHeaders(): string {
  return POST.replace('\r\n\r\n', `\r\n${'a:\r\n'.repeat(2_600)}\r\n`);
}
