import type { Socket } from 'node:net';
import type { Server } from 'node:tls';
import { addressBlock } from '../address-block.ts';
import { RoundRobin } from '../round-robin.ts';
import { goOnReading, stopReading } from '../socket-reading.ts';
import { HANDSHAKE_TIMEOUT_MS } from './handshake-words.ts';

/**
 * Handshakes that are read from at once, and so in one turn of the event loop. A step of one costs up to a millisecond:
 * the server signs after the first flight of a client, and after the second checks its certificate.
 */
const AT_ONCE = 8;

/**
 * A handshake keeps its place for this long while others wait, in milliseconds. What its client sends later waits in the
 * buffers of the system, and is there when it has a place again.
 */
const PLACE_MS = 5;

type Handshake = {
  readonly socket: Socket;
  readonly address: string;
  hasBegun: boolean;
  /** It has its place for a whole turn at least. */
  hadTurn: boolean;
  late?: NodeJS.Timeout;
};

/**
 * Lets a few handshakes of a server go on at a time, by turns between addresses, so that many at once do not hold up
 * what else there is to do. One that makes no progress keeps no others out: it goes behind them. The server has to be
 * made with `pauseOnConnect`, so that nothing is read from a connection that waits.
 *
 * Takes the place of what listens for connections by then: so TLS begins.
 */
export class Handshakes {
  readonly #begin: (socket: Socket) => void;
  readonly #onLate: (socket: Socket) => void;
  readonly #timeoutMs: number;
  readonly #bySocket = new Map<Socket, Handshake>();
  readonly #placed = new Set<Handshake>();
  readonly #waiting = new RoundRobin<Handshake>();
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param onLate is told of a handshake that has not ended in time, before its connection is closed
   * @param timeoutMs from the accept on
   */
  constructor(server: Server, onLate: (socket: Socket) => void, timeoutMs: number = HANDSHAKE_TIMEOUT_MS) {
    const listeners = server.listeners('connection');
    server.removeAllListeners('connection');
    this.#begin = (socket) => {
      for (const begin of listeners) begin.call(server, socket);
    };
    this.#onLate = onLate;
    this.#timeoutMs = timeoutMs;
  }

  /** To be called for each connection, at its accept. */
  add(socket: Socket): void {
    const address = addressBlock(socket.remoteAddress);
    const handshake: Handshake = { socket, address, hasBegun: false, hadTurn: false };
    this.#bySocket.set(socket, handshake);
    socket.once('close', () => this.end(socket));
    if (this.#placed.size < AT_ONCE) {
      this.#place(handshake);
      return;
    }
    // TLS has a timer of its own once it has begun.
    handshake.late = setTimeout(() => {
      this.#onLate(socket);
      socket.destroy();
    }, this.#timeoutMs);
    this.#wait(handshake);
  }

  /** TLS is agreed on this connection, or it is closed. */
  end(socket: Socket): void {
    const handshake = this.#bySocket.get(socket);
    if (handshake === undefined) return;
    this.#bySocket.delete(socket);
    clearTimeout(handshake.late);
    if (this.#placed.delete(handshake)) this.#fill();
    else this.#waiting.remove(handshake.address, handshake);
  }

  #place(handshake: Handshake): void {
    this.#placed.add(handshake);
    handshake.hadTurn = false;
    if (handshake.hasBegun) {
      goOnReading(handshake.socket);
      return;
    }
    handshake.hasBegun = true;
    this.#begin(handshake.socket);
  }

  #wait(handshake: Handshake): void {
    this.#waiting.add(handshake.address, handshake);
    this.#schedule();
  }

  #fill(): void {
    while (this.#placed.size < AT_ONCE) {
      const next = this.#waiting.next();
      if (next === undefined) return;
      this.#place(next);
    }
  }

  /** Those that had their place since the last time go behind the others. */
  #rotate(): void {
    this.#timer = undefined;
    if (this.#waiting.isEmpty) return;
    const rested = [...this.#placed].filter(({ hadTurn }) => hadTurn);
    for (const handshake of rested) {
      this.#placed.delete(handshake);
      stopReading(handshake.socket);
    }
    this.#fill();
    for (const handshake of rested) this.#wait(handshake);
    this.#fill();
    // Between two calls of a timer the loop reads at least once from all that have a place.
    for (const handshake of this.#placed) handshake.hadTurn = true;
    if (!this.#waiting.isEmpty) this.#schedule();
  }

  #schedule(): void {
    if (this.#timer === undefined) this.#timer = setTimeout(() => this.#rotate(), PLACE_MS);
  }
}
