import { once } from 'node:events';
import { createServer } from 'node:net';
import { messageOf } from '../errors.ts';
import { failed, ok } from './checkup.ts';
import type { Verdict } from './checkup.ts';

export type Address = { readonly host: string; readonly port: number };

/** Whether both can be listened at by one relay; port 0 is another one for each. */
export function checkApart(receiver: Address, admin: Address): Verdict<undefined> {
  const isAny = ({ host }: Address) => host === '0.0.0.0' || host === '::';
  const collide =
    receiver.port === admin.port &&
    receiver.port !== 0 &&
    (receiver.host === admin.host || isAny(receiver) || isAny(admin));
  return collide
    ? failed(
        `receiver.listen and admin.listen both have port ${admin.port}: the relay cannot start`,
        'give admin.listen another port (9464 unless set)',
      )
    : ok('receiver.listen and admin.listen are apart');
}

/**
 * Whether a relay could listen there, by listening there for a moment.
 * @param holder the relay that runs on the same queue, in words, which then has it
 */
export async function checkPort(
  { host, port }: Address,
  key: string,
  holder: string | undefined,
): Promise<Verdict<undefined>> {
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const server = createServer((socket) => socket.destroy());
  try {
    await once(server.listen(port, host), 'listening');
    await once(server.close(), 'close');
    return ok(`${where} is free`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EADDRINUSE' && holder !== undefined)
      return ok(`${where} is held by the running relay (${holder})`);
    return failed(`nobody can listen on ${where}: ${messageOf(error)}`, remedy(code, port, key));
  }
}

function remedy(code: string | undefined, port: number, key: string): string {
  switch (code) {
    case 'EADDRINUSE':
      return `stop the program that listens there (ss -ltnp 'sport = :${port}'), or change ${key}`;
    case 'EACCES':
      return `give ${key} a port from 1024 on, or the relay the right to bind this one (CAP_NET_BIND_SERVICE)`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `give ${key} an address of this machine, or 0.0.0.0 for all of them`;
    default:
      return `change ${key}`;
  }
}
