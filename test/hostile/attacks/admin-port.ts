import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { atMost } from '../attack.ts';
import type { Attack, Form } from '../attack.ts';
import { closeOf, connectBare, countAnswers, keepOpen } from '../attacker.ts';
import { MIB } from '../bodies.ts';

const FLOODING_CONNECTIONS = 16;
const REQUEST = 'QUERY /livez HTTP/1.1\r\nhost: relay\r\n\r\n';
const PIPELINED = 64;
const MOST_LOG_MIB = 1;
/** Answers to all of them take the thread that others need as well. */
const MOST_P50_MS = 1_500;

const MANY_CONNECTIONS = 3_000;
const MOST_CONNECTIONS = 1_024;

/** A method that the server has no route for, as fast as it is answered. */
function flood(seconds: number): Attack {
  return {
    name: `the admin port: requests with the method QUERY for ${seconds} s`,
    mostP50Ms: MOST_P50_MS,
    deadlineMs: seconds * 1000 + 60_000,
    async run({ relay, logBytes, isDead, watch }) {
      const before = await logBytes();
      const answers = countAnswers();
      const end = Date.now() + seconds * 1000;
      async function ask(): Promise<void> {
        while (Date.now() < end && !isDead()) {
          const socket = await connectBare(relay.adminUrl);
          if (socket === undefined) {
            answers.add('refused connection');
            await pause(100);
            continue;
          }
          await keepAsking(socket, end, answers.add);
        }
      }
      await Promise.all(Array.from({ length: FLOODING_CONNECTIONS }, ask));
      // It is written a while after it happened.
      await watch(2_000);
      const grown = ((await logBytes()) - before) / MIB;
      return { answer: answers.words(), figures: [atMost('log that it made', grown, MOST_LOG_MIB, ' MiB')] };
    },
  };
}

/** Pipelined: as many requests as were answered, until the end or until it is closed. */
async function keepAsking(socket: Socket, end: number, answered: (status: string) => void): Promise<void> {
  const closed = closeOf(socket);
  const timer = setTimeout(() => socket.destroy(), Math.max(0, end - Date.now()));
  socket.on('data', (data: Buffer) => {
    const statuses = [...data.toString('latin1').matchAll(/HTTP\/1\.1 (\d{3})/g)].map(
      ([, status]) => status!,
    );
    for (const status of statuses) answered(status);
    socket.write(REQUEST.repeat(statuses.length));
  });
  socket.write(REQUEST.repeat(PIPELINED));
  await closed;
  clearTimeout(timer);
}

function connections(ms: number): Attack {
  return {
    name: `the admin port: ${MANY_CONNECTIONS.toLocaleString('en-US')} idle connections`,
    deadlineMs: ms + 60_000,
    async run({ relay, isDead }) {
      const end = Date.now() + ms;
      const isOver = () => Date.now() > end || isDead();
      const open = await keepOpen(MANY_CONNECTIONS, () => connectBare(relay.adminUrl), isOver);
      return {
        answer: `${open} connections open at the end`,
        figures: [atMost('connections open at once', open, MOST_CONNECTIONS, '')],
      };
    },
  };
}

export function adminPortAttacks(form: Form): Attack[] {
  return form === 'short' ? [flood(3), connections(2_000)] : [flood(5), connections(15_000)];
}
