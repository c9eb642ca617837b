import { X509Certificate } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { TLSSocket } from 'node:tls';
import type { DetailedPeerCertificate } from 'node:tls';
import { quote } from '../network-words.ts';
import { checkTimes } from './certificates.ts';
import { ok, skipped, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';

/* Certificates of other machines, as they come with the connections that are made anyhow. */

/** Of undici (docs/api/DiagnosticsChannel.md); its subscribers are given each new connection. */
const CONNECTED = 'undici:client:connected';

/** No chain is longer. */
const MOST_CERTIFICATES = 10;

export type Peers = {
  /**
   * What is presented at the address of an https URL to which there was a connection.
   * @param trusted where the CAs stand that are trusted there
   */
  check(url: URL, now: number, trusted: string): Verdict<undefined>;
  stop(): void;
};

export function watchPeers(): Peers {
  const chains = new Map<string, readonly X509Certificate[]>();
  const remember = (message: unknown) => {
    const { connectParams, socket } = message as {
      connectParams: { protocol: string; host: string };
      socket: unknown;
    };
    if (!(socket instanceof TLSSocket)) return;
    chains.set(new URL(`${connectParams.protocol}//${connectParams.host}`).host, chainOf(socket));
  };
  subscribe(CONNECTED, remember);
  return {
    check: ({ host }, now, trusted) => judge(host, chains.get(host) ?? [], now, trusted),
    stop: () => void unsubscribe(CONNECTED, remember),
  };
}

/**
 * That it is signed by a CA that is trusted, and for this name, the connection has shown. It may have gone another way
 * up than this chain (RFC 4158), so nothing behind the leaf is a failure.
 */
function judge(
  host: string,
  chain: readonly X509Certificate[],
  now: number,
  trusted: string,
): Verdict<undefined> {
  const [leaf, ...behind] = chain;
  if (leaf === undefined) return skipped(`no certificate of ${host} was seen`);
  const place = `the chain of ${host}`;
  const ofLeaf = checkTimes([leaf], now, place, `have it renewed at ${host}`);
  if (ofLeaf.state !== 'ok') return ofLeaf;
  for (const certificate of behind) {
    const isRoot = certificate.checkIssued(certificate);
    const renew = isRoot
      ? `put the CA's new certificate into ${trusted}`
      : `have it renewed, or left out, at ${host}`;
    const times = checkTimes([certificate], now, place, renew);
    if ('fix' in times) return warning(times.words, times.fix);
  }
  return ok(`is for ${quote(leaf.subjectAltName ?? '')}, ${checkTimes(chain, now, place).words}`);
}

/** The leaf first, then each that has signed the one before, of what was sent and of the CAs that are trusted. */
function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  // Only this older form has the ones behind the leaf; empty where none was shown.
  let next: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined && chain.length < MOST_CERTIFICATES) {
    chain.push(new X509Certificate(next.raw));
    // A root has signed itself.
    const { fingerprint256, issuerCertificate }: Partial<DetailedPeerCertificate> = next;
    next = issuerCertificate?.fingerprint256 === fingerprint256 ? undefined : issuerCertificate;
  }
  return chain;
}
