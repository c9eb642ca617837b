import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { messageOf } from '../errors.ts';
import { failed, ok } from './checkup.ts';
import type { Verdict } from './checkup.ts';

export type Address = { readonly host: string; readonly port: number };

/** Whether both can be listened at by one relay; port 0 is another one for each. */
export async function checkApart(receiver: Address, admin: Address): Promise<Verdict<undefined>> {
  const isSamePort = receiver.port === admin.port && receiver.port !== 0;
  return isSamePort && (await overlap(receiver.host, admin.host))
    ? failed(
        `receiver.listen and admin.listen both have port ${admin.port}: the relay cannot start`,
        'give admin.listen another port (9464 unless set)',
      )
    : ok('receiver.listen and admin.listen are apart');
}

/** A name counts for its first address, as where it is listened at; one that has none is told of with its port. */
async function overlap(one: string, other: string): Promise<boolean> {
  if (one === other) return true;
  const found = await Promise.all([lookup(one), lookup(other)]).catch(() => undefined);
  if (found === undefined) return false;
  const [a, b] = found;
  // :: takes the addresses of both families (IPV6_V6ONLY is off).
  if (a.address === b.address || a.address === '::' || b.address === '::') return true;
  return a.family === b.family && (a.address === '0.0.0.0' || b.address === '0.0.0.0');
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
