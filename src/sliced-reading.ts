import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { createTurns } from './turns.ts';

/** A request head ends with it, and so does a body in chunks; Node's parser takes nothing else for it. */
const HEAD_END = '\r\n\r\n';

/**
 * A slice goes to the first end of a head, or to here where that is further. The shortest head has 18 bytes, so that 28
 * requests are the most in a slice.
 */
const SLICE_BYTES = 512;

/**
 * How long requests are begun in one turn of the event loop, in milliseconds. What they are answered with takes up to
 * four times as long, in the same turn.
 */
const TURN_MS = 5;

/** Those of every server: all share the event loop. */
const { hasTime, spend, waitForTurn } = createTurns(TURN_MS);

/** Node's socket as its HTTP server has it; none of this is in its types. */
type HttpSocket = Socket & {
  readonly parser?: { readonly incoming: IncomingMessage | null } | null;
  /** Until the client has read answers that it is owed; then Node resumes it. */
  readonly _paused?: boolean;
};

/**
 * Bounds how many requests of a connection Node makes out of what it has read at once.
 *
 * Node gives all that it has read, 64 KiB at a time, to its parser in one go. The parser makes a request of each head
 * in it, some 2,400 of them, and nothing stops it: not the end of the socket, nor a pause. So the socket's data goes to
 * the parser in slices, and the rest of it is dropped once the socket is destroyed. Where somebody has paused the
 * socket, or this turn of the event loop has no time for more requests of the client, the rest waits in the socket.
 * What has no end of a head in it, a body that is, goes to the parser as it comes.
 *
 * @returns to be called for each connection that HTTP is spoken on, once Node's server has it; `client` is who shares
 * a turn with others
 */
export function sliceReading(server: Server): (socket: Socket, client: () => string) => void {
  const malformed = new WeakSet<Socket>();
  // After an error the parser takes nothing more, and tells of the same error at each call.
  server.on('clientError', (_error, socket) => malformed.add(socket as Socket));

  return (socket: HttpSocket, client) => {
    const { parser } = socket;
    const listeners = socket.listeners('data') as ((data: Buffer) => void)[];
    let isWaiting = false;
    let hasTurn = false;
    /** Whose body comes, and how many bytes of it are still to come at least, as far as its head says. */
    let request: IncomingMessage | undefined;
    let bodyLeft = 0;

    const isOver = () => socket.destroyed || malformed.has(socket) || socket.parser !== parser;

    function mayGoOn(): boolean {
      if (isWaiting) return false;
      if (hasTurn || hasTime(client())) return true;
      isWaiting = true;
      waitForTurn(client(), () => {
        isWaiting = false;
        hasTurn = true;
        if (!socket.destroyed) socket.resume();
      });
      return false;
    }

    /** Gives the parser up to the first end of a head, or further where that is near. Returns what is left. */
    function parse(data: Buffer, headEnd: number): Buffer {
      const end = headEnd === -1 ? data.length : Math.max(headEnd + HEAD_END.length, SLICE_BYTES);
      const slice = data.subarray(0, end);
      for (const listener of listeners) listener.call(socket, slice);
      const current = parser?.incoming ?? undefined;
      if (current !== request) {
        request = current;
        bodyLeft = Number(current?.headers['content-length'] ?? 0);
      }
      bodyLeft -= slice.length;
      return data.subarray(end);
    }

    function read(data: Buffer): void {
      for (let rest = data; rest.length > 0 && !isOver();) {
        const isInBody = parser?.incoming?.complete === false;
        const headEnd = isInBody && rest.length <= bodyLeft ? -1 : rest.indexOf(HEAD_END, 0, 'latin1');
        // Whoever reads a body sees to its turns (see `Throttle`).
        const isBody = isInBody && headEnd === -1;
        // oxlint-disable-next-line no-underscore-dangle -- Node's name for it
        if (socket._paused === true || (!isBody && !mayGoOn())) socket.pause();
        if (socket.isPaused()) {
          socket.unshift(rest);
          break;
        }
        const started = performance.now();
        rest = parse(rest, headEnd);
        if (!isBody) {
          hasTurn = false;
          spend(client(), performance.now() - started);
        }
      }
      // After CONNECT the socket is no longer Node's to read.
      if (!socket.destroyed && socket.parser !== parser) socket.off('data', read);
    }

    for (const listener of listeners) socket.off('data', listener);
    // Where Node reads past the socket, it ceases to at this.
    socket.on('data', read);
  };
}
