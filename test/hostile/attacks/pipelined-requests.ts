import type { Socket } from 'node:net';
import type { Arena } from '../arena.ts';
import { isTrue } from '../attack.ts';
import type { Attack, Form } from '../attack.ts';
import { closeOf, connectBare, countAnswers } from '../attacker.ts';

/** Of the least bytes that a request has; as many as are read from a connection at once. */
const REQUESTS = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(2_400);
const AT_ONCE = 50;
const PATIENCE_MS = 10_000;

/** So many connections that are open and idle, and then one write on each, all at the same time. */
function pipelined(what: string, count: number, open: (arena: Arena) => Promise<Socket | undefined>): Attack {
  return {
    name: `2,400 requests in one write, on each of ${count} connections, ${what}`,
    deadlineMs: 60_000,
    async run(arena) {
      const sockets: Socket[] = [];
      while (sockets.length < count && !arena.isDead()) {
        const opened = await Promise.all(Array.from({ length: AT_ONCE }, () => open(arena)));
        sockets.push(...opened.filter((socket) => socket !== undefined));
      }
      const answers = countAnswers();
      const allClosed = Promise.all(
        sockets.map(async (socket) => {
          socket.write(REQUESTS);
          await closeOf(socket);
          answers.add('closed');
        }),
      ).then(() => true);
      const areClosed = await Promise.race([allClosed, arena.watch(PATIENCE_MS).then(() => false)]);
      for (const socket of sockets) socket.destroy();
      const answer = answers.words();
      return { answer, figures: [isTrue('all are closed', areClosed, answer, `${count} × closed`)] };
    },
  };
}

export function pipelinedRequestsAttacks(form: Form): Attack[] {
  const count = form === 'short' ? 100 : 500;
  return [
    pipelined('of a sender', count, ({ attacker }) => attacker.connect()),
    pipelined('of a client that may not send', count, ({ stranger }) => stranger.connect()),
    pipelined('to the admin port', 50, ({ relay }) => connectBare(relay.adminUrl)),
  ];
}
