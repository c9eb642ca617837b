import type { Arena } from '../arena.ts';
import type { Attack, Form } from '../attack.ts';
import { connectBare, keepOpen } from '../attacker.ts';
import type { Attacker } from '../attacker.ts';

type Opens = (arena: Arena) => ReturnType<Attacker['connect']>;

/** More than the 4,096 that the receiver has at all. */
const MORE_THAN_ALL = 4_200;

/** Connections on which nothing comes any more. */
function idle(what: string, count: number, ms: number, open: Opens): Attack {
  return {
    name: `${count.toLocaleString('en-US')} idle connections, ${what}`,
    deadlineMs: ms + 60_000,
    async run(arena) {
      const end = Date.now() + ms;
      const isOver = () => Date.now() > end || arena.isDead();
      const areOpen = await keepOpen(count, () => open(arena), isOver);
      return { answer: `${areOpen} connections open at the end` };
    },
  };
}

/** Without spans; the connection is kept behind the answer. */
const REQUEST =
  'POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n';

async function ask(client: Attacker): ReturnType<Attacker['connect']> {
  const socket = await client.connect();
  socket?.write(REQUEST);
  return socket;
}

export function idleConnectionsAttacks(form: Form): Attack[] {
  const bare = (ms: number) => idle('bare TCP', MORE_THAN_ALL, ms, ({ relay }) => connectBare(relay.url));
  const sender = (count: number, ms: number) =>
    idle('of a sender', count, ms, ({ attacker }) => ask(attacker));
  if (form === 'short') return [bare(8_000), sender(600, 4_000)];
  return [
    sender(MORE_THAN_ALL, 60_000),
    idle('of a client that may not send and was told so', MORE_THAN_ALL, 60_000, ({ stranger }) =>
      ask(stranger),
    ),
    bare(30_000),
  ];
}
