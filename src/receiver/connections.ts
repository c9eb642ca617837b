import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Server as SecureServer } from 'node:tls';
import { addressBlock } from '../address-block.ts';
import { FairPool } from '../fair-pool.ts';
import { boundPipelining } from '../pipelining.ts';
import { followReads } from '../turn-of-reads.ts';
import { Handshakes } from './handshakes.ts';

/** A request in hand and its answer. */
export type Exchange = { readonly request: IncomingMessage; readonly response: ServerResponse };

type Connection = {
  /** As accepted; over TLS it carries another socket, on which requests come. */
  readonly accepted: Socket;
  readonly remote: string | undefined;
  readonly exchanges: Set<Exchange>;
  closeAfterAnswer: boolean;
  /** Requests that came behind the last that is answered. */
  ignored: number;
  /** Where it has its place, and by what it is held against others. */
  pool?: FairPool<Connection>;
  holder?: string;
};

export type ConnectionLimits = {
  /** Most connections in all. */
  readonly all: number;
  /** Most of clients that have shown over TLS that they may send. The others are for those that have not. */
  readonly senders: number;
};

/**
 * All: an idle TLS connection holds some 110 KiB, 450 MiB together. A handshake takes a few round trips, so that a
 * quarter of them is enough for thousands of new clients a second.
 */
export const CONNECTION_LIMITS: ConnectionLimits = { all: 4_096, senders: 3_072 };

/**
 * Clients of OTLP send one request after the other. All that come in one read from the network are looked at in one go,
 * so a connection with more than this is closed.
 */
const MAX_PIPELINED = 16;

/** Whose connection it is, once that is known, and whether they may send. */
export type ConnectionOwner = { readonly sender: string; readonly maySend: boolean };

/** A connection that was closed, so that another one has its place. */
export type GaveWay = { readonly holder: string; readonly remote: string | undefined };

/** The connections of a server, and the requests in hand on each. */
export type Connections = ReturnType<typeof trackConnections>;

/**
 * Follows every connection of the server from its accept on, that is before TLS is agreed, and bounds their number.
 *
 * Beyond a limit a new connection gets the place of another one (see `FairPool`). Before its handshake is over it is
 * held against others by its address, and after that by its sender: many senders may come from one address, that of
 * a proxy, and none of them is kept out by the others. In plaintext there are addresses only.
 */
export function trackConnections(
  server: Server,
  options: {
    isSecure: boolean;
    limits: ConnectionLimits;
    /** Asked once for each connection, when TLS is agreed. */
    ownerOf: (socket: Socket) => ConnectionOwner;
    onGaveWay: (gaveWay: GaveWay) => void;
    /** TLS was not agreed in time; the connection is closed after that. */
    onLateHandshake: (socket: Socket) => void;
  },
) {
  const { isSecure, limits, ownerOf, onGaveWay, onLateHandshake } = options;
  const places = createPlaces(isSecure, limits, onGaveWay);
  const all = new Set<Connection>();
  /** Where TLS is not agreed yet, by `peerOf`. */
  const unfinished = new Map<string, Connection>();
  const handshakes = isSecure
    ? new Handshakes(server as unknown as SecureServer, onLateHandshake)
    : undefined;
  const established = new Map<Socket, Connection>();
  let inHand = 0;
  let stopping = false;
  let onIdle: (() => void) | undefined;

  function establish(socket: Socket, connection: Connection): void {
    established.set(socket, connection);
    followReads(socket, connection.holder ?? '');
    boundPipelining(socket, () => connection.exchanges.size + connection.ignored < MAX_PIPELINED);
    socket.once('close', () => {
      established.delete(socket);
      // Where a connection owes several answers, Node 22 tells only the first of them that it is gone.
      for (const exchange of connection.exchanges) end(connection, exchange);
    });
  }

  function end(connection: Connection, exchange: Exchange): void {
    if (!connection.exchanges.delete(exchange)) return;
    inHand -= 1;
    connection.pool?.end(connection);
    // Also where the answer went out before it was the last.
    if (connection.closeAfterAnswer && connection.exchanges.size === 0) exchange.request.socket.destroySoon();
    if (inHand === 0) onIdle?.();
  }

  server.on('connection', (socket: Socket) => {
    // Read once, an address is known after the end of the connection too.
    const remote = socket.remoteAddress;
    const connection: Connection = {
      accepted: socket,
      remote,
      exchanges: new Set(),
      closeAfterAnswer: false,
      ignored: 0,
    };
    const peer = peerOf(socket);
    all.add(connection);
    socket.once('close', () => {
      all.delete(connection);
      connection.pool?.remove(connection);
      if (unfinished.get(peer) === connection) unfinished.delete(peer);
    });
    places.accept(connection);
    if (handshakes === undefined) {
      establish(socket, connection);
    } else if (!socket.destroyed) {
      unfinished.set(peer, connection);
      handshakes.add(socket);
    }
  });

  if (handshakes !== undefined) {
    server.on('secureConnection', (socket: Socket) => {
      const peer = peerOf(socket);
      const connection = unfinished.get(peer);
      if (connection === undefined) {
        // Its address is gone already, and so is the client.
        socket.destroy();
        return;
      }
      unfinished.delete(peer);
      handshakes.end(connection.accepted);
      places.know(connection, ownerOf(socket));
      establish(socket, connection);
    });
  }

  return {
    /**
     * To be called for every request, before anything else is done with it. False: nothing may be done with it, as
     * the answer before it is the last on its connection.
     */
    begin(request: IncomingMessage, response: ServerResponse): boolean {
      const connection = established.get(request.socket);
      if (connection === undefined) return false;
      if (connection.closeAfterAnswer) {
        connection.ignored += 1;
        return false;
      }
      const exchange = { request, response };
      inHand += 1;
      connection.exchanges.add(exchange);
      connection.pool?.begin(connection);
      response.once('close', () => end(connection, exchange));
      return true;
    },

    /** Undefined: no TLS on it yet, or closed. */
    exchangesOn: (socket: Socket): ReadonlySet<Exchange> | undefined => established.get(socket)?.exchanges,

    /** The next answer on this connection is its last. */
    closeAfterAnswer(socket: Socket): void {
      const connection = established.get(socket);
      if (connection !== undefined) connection.closeAfterAnswer = true;
    },

    isLastAnswer: (socket: Socket): boolean => stopping || established.get(socket)?.closeAfterAnswer === true,

    /** Closes what has no request in hand, handshakes too; the others after the answer they wait for. */
    retireAll(): void {
      for (const connection of all) {
        if (connection.exchanges.size === 0) connection.accepted.destroy();
        else connection.closeAfterAnswer = true;
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
      for (const { accepted } of all) accepted.destroy();
    },
  };
}

/** Gives connections their places among the others, and closes those that lose theirs by that. */
function createPlaces(isSecure: boolean, limits: ConnectionLimits, onGaveWay: (gaveWay: GaveWay) => void) {
  const senders = new FairPool<Connection>(() => (isSecure ? limits.senders : limits.all));
  /** Unfinished handshakes, and clients that may not send. */
  const strangers = new FairPool<Connection>(() => limits.all - senders.size);

  function place(connection: Connection, pool: FairPool<Connection>, holder: string): void {
    connection.pool?.remove(connection);
    connection.pool = pool;
    connection.holder = holder;
    const loser = pool.add(connection, holder);
    if (loser === undefined) return;
    onGaveWay({ holder: loser.holder ?? '', remote: loser.remote });
    loser.accepted.destroy();
  }

  return {
    accept(connection: Connection): void {
      place(connection, isSecure ? strangers : senders, `address ${addressBlock(connection.remote)}`);
    },
    /** Its client has shown who it is. */
    know(connection: Connection, { sender, maySend }: ConnectionOwner): void {
      place(connection, maySend ? senders : strangers, `sender ${sender}`);
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
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
