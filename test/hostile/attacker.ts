import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';

/* What attackers have: connections from an address of their own, with a certificate or without, and answers to count. */

/** Not that of the honest sender: what is bounded by address must not fall on it. */
export const ATTACKER_ADDRESS = '127.0.0.66';

export type Identity = { readonly caFile: string; readonly certFile: string; readonly keyFile: string };

export type Answers = {
  /** A status, or why there was none. */
  add(word: string | number): void;
  words(): string;
  has(word: string | number): boolean;
};

export function countAnswers(): Answers {
  const counts = new Map<string, number>();
  return {
    add: (word) => counts.set(String(word), (counts.get(String(word)) ?? 0) + 1),
    words: () => [...counts].map(([word, count]) => `${count} × ${word}`).join(', ') || 'none',
    has: (word) => counts.has(String(word)),
  };
}

export type Attacker = {
  /** Resolves with the status, or the code of the error; never rejects. */
  post(body: Uint8Array, headers?: Record<string, string>): Promise<string>;
  /** A connection after its handshake; undefined where it was refused. */
  connect(): Promise<Socket | undefined>;
  close(): void;
};

/** An answer that comes later is of no use to anybody. */
const PATIENCE_MS = 120_000;
const CONNECT_PATIENCE_MS = 15_000;

/** @param isKept connections are used again */
export function createAttacker(url: string, identity: Identity, isKept = false): Attacker {
  const { hostname, port } = new URL(url);
  const tls = {
    ca: readFileSync(identity.caFile),
    cert: readFileSync(identity.certFile),
    key: readFileSync(identity.keyFile),
  };
  const agent = new Agent({ keepAlive: isKept, ...tls });
  return {
    post: (body, headers = {}) =>
      new Promise((resolve) => {
        const outgoing = request({
          hostname,
          port,
          path: '/v1/traces',
          method: 'POST',
          agent,
          localAddress: ATTACKER_ADDRESS,
          timeout: PATIENCE_MS,
          headers: { 'content-type': 'application/x-protobuf', 'content-length': body.length, ...headers },
        });
        outgoing.on('response', (response) => {
          buffer(response).then(
            () => resolve(String(response.statusCode)),
            (error: NodeJS.ErrnoException) => resolve(error.code ?? 'cut'),
          );
        });
        outgoing.on('timeout', () => outgoing.destroy(Object.assign(new Error(), { code: 'no answer' })));
        outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
        outgoing.end(body);
      }),
    connect: () =>
      whenReady(
        connectTls({ host: hostname, port: Number(port), localAddress: ATTACKER_ADDRESS, ...tls } as never),
        'secureConnect',
      ),
    close: () => agent.destroy(),
  };
}

/** A bare connection. */
export function connectBare(url: string): Promise<Socket | undefined> {
  const { hostname, port } = new URL(url);
  return whenReady(
    connectTcp({ host: hostname, port: Number(port), localAddress: ATTACKER_ADDRESS }),
    'connect',
  );
}

function whenReady<S extends Socket>(socket: S, event: string): Promise<S | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), CONNECT_PATIENCE_MS);
    socket.once(event, () => {
      clearTimeout(timer);
      // What it is told is of no interest, but that it was closed.
      socket.resume();
      resolve(socket);
    });
    socket.on('error', () => {});
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(undefined);
    });
  });
}

/** Resolves once it is, whatever went wrong before. */
export function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    if (socket.closed) resolve();
  });
}

/** Handshakes at a time. */
const AT_ONCE = 64;
const LOOK_AGAIN_MS = 50;

/**
 * Keeps so many connections open for a while: one that is closed is opened again.
 * @returns how many were open at the end; all are closed then
 */
export async function keepOpen(
  count: number,
  open: () => Promise<Socket | undefined>,
  isOver: () => boolean,
): Promise<number> {
  const sockets = new Set<Socket>();
  async function work(): Promise<void> {
    while (!isOver()) {
      const socket = sockets.size < count ? await open() : undefined;
      if (socket === undefined) {
        await pause(LOOK_AGAIN_MS);
        continue;
      }
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const areOpen = [...sockets].filter(({ destroyed }) => !destroyed).length;
  for (const socket of sockets) socket.destroy();
  return areOpen;
}
