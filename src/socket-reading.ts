import type { Socket } from 'node:net';

/*
 * Stops what is read from a socket in the middle of a turn of the event loop, also where the system has told of bytes
 * already, and goes on as the socket wants by then. `pause` of a socket would be seen by all who listen on it.
 *
 * The handle is no public property of a socket. Where a later Node has it elsewhere, reading goes on, and tests fail.
 */

/** As libuv and Node's sockets have it. `reading`: what the socket wants. */
type Handle = { readonly reading: boolean; readStart(): void; readStop(): void };

export function stopReading(socket: Socket): void {
  const handle = handleOf(socket);
  if (handle?.reading === true) handle.readStop();
}

export function goOnReading(socket: Socket): void {
  const handle = handleOf(socket);
  if (handle?.reading === true) handle.readStart();
}

function handleOf(socket: Socket): Handle | null | undefined {
  // oxlint-disable-next-line no-underscore-dangle -- Node's name for it
  return (socket as unknown as { _handle?: Handle | null })._handle;
}
