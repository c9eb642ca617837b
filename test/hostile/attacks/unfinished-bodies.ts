import type { Socket } from 'node:net';
import type { Attack, Form } from '../attack.ts';
import { countAnswers } from '../attacker.ts';

const CONNECTIONS = 4;
/** All of them together leave less of the room for bodies than a request of the good sender takes. */
const LARGE = 67_000_000;
const SMALLER = 500_000;
/** Bytes that are never sent. */
const MISSING = 1;

/** Bodies of about the largest size that do not end. */
export function unfinishedBodiesAttacks(form: Form): Attack[] {
  return [
    {
      name: `${CONNECTIONS} bodies of ${LARGE / 1e6} MB that do not end, beside others' of ${SMALLER / 1e6} MB`,
      options: { body: { format: 'protobuf', bytes: SMALLER }, perSecond: 5 },
      deadlineMs: 180_000,
      async run({ attacker, watch }) {
        const answers = countAnswers();
        const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => attacker.connect()));
        const open = sockets.filter((socket) => socket !== undefined);
        for (const socket of open) begin(socket, answers.add);
        await watch(form === 'short' ? 8_000 : 70_000);
        for (const socket of open) socket.destroy();
        return { answer: answers.words() };
      },
    },
  ];
}

function begin(socket: Socket, answered: (status: string) => void): void {
  socket.once('data', (data: Buffer) => answered(/\d{3}/.exec(data.toString('latin1'))?.[0] ?? ''));
  socket.write('POST /v1/traces HTTP/1.1\r\nhost: relay\r\ncontent-type: application/x-protobuf\r\n');
  socket.write(`content-length: ${LARGE}\r\n\r\n`);
  socket.write(Buffer.alloc(LARGE - MISSING));
}
