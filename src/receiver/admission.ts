import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { createClientCheck, describeIdentity, readIdentity } from './client-identity.ts';
import type { ClientIdentity } from './client-identity.ts';
import type { Refusal } from './refusal.ts';

/** Whose connection it is, and why it may not send, if it may not. */
export type Admission = { readonly sender: string; readonly refusal?: Refusal };

const PLAINTEXT: Admission = { sender: 'plaintext' };

/** Decides once for each connection, by the certificate of its handshake. */
export function createAdmission(
  allowedClients: readonly string[],
  secure: boolean,
): (socket: Socket) => Admission {
  if (!secure) return () => PLAINTEXT;
  const isAllowed = createClientCheck(allowedClients);
  const decided = new WeakMap<Socket, Admission>();

  function decide(socket: TLSSocket): Admission {
    const certificate = socket.getPeerX509Certificate();
    let identity: ClientIdentity;
    try {
      if (certificate === undefined) throw new Error('there is none');
      identity = readIdentity(certificate.raw);
    } catch {
      return refused('unknown', 'the client certificate cannot be read');
    }
    if (isAllowed(identity)) return { sender: identity.sender };
    const seen = describeIdentity(identity);
    return refused(
      identity.sender,
      `${seen} may not send here: no pattern in receiver.allowed_clients matches it`,
    );
  }

  return (socket) => {
    const known = decided.get(socket);
    if (known !== undefined) return known;
    const admission = decide(socket as TLSSocket);
    decided.set(socket, admission);
    return admission;
  };
}

function refused(sender: string, message: string): Admission {
  return { sender, refusal: { status: 403, reason: 'not_allowed', message } };
}
