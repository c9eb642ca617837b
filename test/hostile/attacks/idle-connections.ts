import type { Arena } from '../arena.ts';
import type { Attack, Form } from '../attack.ts';
import { connectBare, openMany } from '../attacker.ts';
import type { Attacker } from '../attacker.ts';

type Opens = (arena: Arena) => ReturnType<Attacker['connect']>;

/** Connections on which nothing comes. */
function idle(what: string, count: number, watchMs: number, open: Opens): Attack {
  return {
    name: `${count.toLocaleString('en-US')} idle connections, ${what}`,
    deadlineMs: watchMs + 120_000,
    async run(arena) {
      const opened = await openMany(count, () => open(arena));
      await arena.watch(watchMs);
      const words = `${opened.areOpen()} of ${count} connections stay open`;
      opened.close();
      return { answer: words };
    },
  };
}

const REQUEST =
  'POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n';

async function askAsStranger({ stranger }: Arena): ReturnType<Attacker['connect']> {
  const socket = await stranger.connect();
  socket?.write(REQUEST);
  return socket;
}

export function idleConnectionsAttacks(form: Form): Attack[] {
  const bare = (count: number, ms: number) =>
    idle('bare TCP', count, ms, ({ relay }) => connectBare(relay.url));
  if (form === 'short') {
    return [bare(4_200, 4_000), idle('with a certificate', 600, 2_000, ({ attacker }) => attacker.connect())];
  }
  return [
    // As many as Node's limit of 4,096 leaves no room beside.
    idle('with a certificate', 4_095, 20_000, ({ attacker }) => attacker.connect()),
    idle('of a client that may not send and was told so', 4_095, 20_000, askAsStranger),
    bare(4_200, 20_000),
  ];
}
