import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** As the parser of Node's HTTP server has it: told of each head; 2 makes it stop there, as for another protocol. */
type Parser = { onIncoming: (request: IncomingMessage, shouldKeepAlive: boolean) => number };
const STOP = 2;

/**
 * Ends a connection of Node's HTTP server at a request that may not begin, and leaves the others that came with it
 * unread. In what is read at once there may be two thousand; Node makes objects of them all, also where the connection is
 * destroyed at the first. To be called once Node has set up the connection.
 *
 * The parser is no public property of a socket. Where a later Node has it elsewhere, more is made than has to be, and a
 * test fails.
 */
export function boundPipelining(socket: Socket, mayBegin: () => boolean): void {
  const { parser } = socket as { parser?: Parser };
  if (parser === undefined) return;
  const onIncoming = parser.onIncoming.bind(parser);
  parser.onIncoming = (request, shouldKeepAlive) => {
    if (mayBegin()) return onIncoming(request, shouldKeepAlive);
    // Nobody listens for an upgrade: Node ends the connection.
    (request as { upgrade?: boolean }).upgrade = true;
    return STOP;
  };
}
