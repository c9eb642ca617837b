import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { readClientCertificate } from './client-certificate.ts';
import type { ClientCertificate } from './client-certificate.ts';
import { createClientCheck, describeIdentity } from './client-identity.ts';
import type { Refusal, RefusalReason } from './refusal.ts';

/** Whose connection it is, and why it may not send, if it may not. */
export type Admission = {
  readonly sender: string;
  readonly refusal?: Refusal;
  /** When its certificate ended, if that is why; milliseconds since the epoch. */
  readonly endedAt?: number;
};

type Verdict = { readonly admission: Admission; readonly certificate?: ClientCertificate };

const PLAINTEXT: Admission = { sender: 'plaintext' };

/**
 * Decides for each connection, by the certificate of its handshake, who the client is and whether it may send. That
 * the certificate has not ended is looked at each time: neither a kept connection nor a resumed session is checked
 * again by TLS. (Node shows the certificate of a resumed session, but none of those above it.)
 */
export function createAdmission(
  allowedClients: readonly string[],
  { isSecure, now }: { isSecure: boolean; now: () => number },
): (socket: Socket) => Admission {
  if (!isSecure) return () => PLAINTEXT;
  const isAllowed = createClientCheck(allowedClients);
  const decided = new WeakMap<Socket, Verdict>();

  function decide(socket: TLSSocket): Verdict {
    let certificate: ClientCertificate;
    try {
      certificate = readClientCertificate(socket.getPeerX509Certificate()!.raw);
    } catch {
      const message = 'the client certificate cannot be read';
      return { admission: refused('unknown', 'certificate_unreadable', message) };
    }
    const { identity, fault } = certificate;
    const { sender } = identity;
    if (fault !== undefined) return { admission: refused(sender, fault.reason, fault.message) };
    if (isAllowed(identity)) return { admission: { sender }, certificate };
    const message = `${describeIdentity(identity)} may not send here: no pattern in receiver.allowed_clients matches it`;
    return { admission: refused(sender, 'not_allowed', message) };
  }

  return (socket) => {
    let verdict = decided.get(socket);
    if (verdict === undefined) decided.set(socket, (verdict = decide(socket as TLSSocket)));
    const { admission, certificate } = verdict;
    return (certificate && checkTime(certificate, now())) ?? admission;
  };
}

function checkTime({ identity: { sender }, validFrom, validTo }: ClientCertificate, now: number) {
  if (now > validTo) {
    const message = `the client certificate of ${sender} ended ${timeOf(validTo)}: renew it, and connect again with the new one`;
    return { ...refused(sender, 'certificate_ended', message), endedAt: validTo };
  }
  if (now < validFrom) {
    const message = `the client certificate of ${sender} is valid only from ${timeOf(validFrom)} on, and the relay's clock says ${timeOf(now)}: compare the clocks`;
    return refused(sender, 'certificate_early', message);
  }
  return undefined;
}

function timeOf(time: number): string {
  return new Date(time).toISOString().replace('.000', '');
}

function refused(sender: string, reason: RefusalReason, message: string): Admission {
  return { sender, refusal: { status: 403, reason, message } };
}
