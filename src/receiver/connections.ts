import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A request in hand and its answer. */
export type Exchange = { readonly request: IncomingMessage; readonly response: ServerResponse };

type State = { readonly exchanges: Set<Exchange>; closeAfterAnswer: boolean };

/** The connections of a server, and the requests in hand on each. */
export type Connections = ReturnType<typeof trackConnections>;

/** Follows every connection of the server from its accept on, that is before TLS is agreed. */
export function trackConnections(server: Server, secure: boolean) {
  /** As accepted; over TLS each carries another socket, on which requests come. */
  const accepted = new Set<Socket>();
  const established = new Map<Socket, State>();
  let inHand = 0;
  let stopping = false;
  let onIdle: (() => void) | undefined;

  server.on('connection', (socket: Socket) => {
    accepted.add(socket);
    // Read once, an address is known after the end of the connection too.
    void socket.remoteAddress;
    socket.once('close', () => accepted.delete(socket));
  });
  server.on(secure ? 'secureConnection' : 'connection', (socket: Socket) => {
    established.set(socket, { exchanges: new Set(), closeAfterAnswer: false });
    socket.once('close', () => established.delete(socket));
  });

  return {
    /** To be called for every request, before anything else is done with it. */
    begin(request: IncomingMessage, response: ServerResponse): void {
      const exchange = { request, response };
      const exchanges = established.get(request.socket)?.exchanges;
      inHand += 1;
      exchanges?.add(exchange);
      response.once('close', () => {
        inHand -= 1;
        exchanges?.delete(exchange);
        if (inHand === 0) onIdle?.();
      });
    },

    /** Undefined: no TLS on it yet, or closed. */
    exchangesOn: (socket: Socket): ReadonlySet<Exchange> | undefined => established.get(socket)?.exchanges,

    /** The next answer on this connection is its last. */
    closeAfterAnswer(socket: Socket): void {
      const state = established.get(socket);
      if (state !== undefined) state.closeAfterAnswer = true;
    },

    isLastAnswer: (socket: Socket): boolean => stopping || established.get(socket)?.closeAfterAnswer === true,

    /** Closes what has no request in hand, handshakes too; the others after the answer they wait for. */
    retireAll(): void {
      const busy = new Set<string>();
      for (const [socket, state] of established) {
        if (state.exchanges.size === 0) continue;
        state.closeAfterAnswer = true;
        busy.add(peerOf(socket));
      }
      for (const socket of accepted) {
        if (!busy.has(peerOf(socket))) socket.destroy();
      }
    },

    isStopping: (): boolean => stopping,

    /**
     * From now on every answer is the last on its connection. Resolves when no request is in hand or the time
     * is up, with every connection destroyed.
     */
    async stop(deadlineMs: number): Promise<void> {
      stopping = true;
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        if (inHand === 0) resolve();
        onIdle = resolve;
        timer = setTimeout(resolve, deadlineMs);
      });
      clearTimeout(timer);
      for (const socket of accepted) socket.destroy();
    },
  };
}

/**
 * Where a connection came from. Node ends a TLS connection before it tells why, and then only the socket under it
 * still knows; that is no public property, so the address is left out where there is none.
 */
export function remoteAddressOf(socket: Socket): string | undefined {
  // oxlint-disable-next-line no-underscore-dangle -- Node's name for it
  return socket.remoteAddress ?? (socket as { _parent?: Socket })._parent?.remoteAddress;
}

/** What an accepted socket and the TLS socket over it have in common. */
function peerOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}
