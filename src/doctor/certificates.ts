import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { isLoopback } from '../loopback.ts';
import { quote } from '../network-words.ts';
import { failed, ok, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';

/* What certificates say of themselves. Pure: `now` is milliseconds since the epoch. */

const DAY_MS = 86_400_000;
/** Of those that live long; certificates that are renewed by machines every few hours are not late by this. */
const SOON_MS = 14 * DAY_MS;
/** Of their life; cert-manager renews with a third left. */
const SOON_SHARE = 1 / 4;

/** RFC 5280 section 4.2.1.12. */
const USAGES = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;

/**
 * @param chain one at least
 * @param place where it stands: a file of the relay, unless there is something else to do to renew it
 */
export function checkTimes(
  chain: readonly X509Certificate[],
  now: number,
  place: string,
  renew = `renew it, and write it to ${place}: the relay takes it up by itself`,
): Verdict<undefined> {
  const soonest = chain.toSorted((a, b) => endOf(a) - endOf(b))[0]!;
  const early = chain.find((certificate) => Date.parse(certificate.validFrom) > now);
  if (early !== undefined) {
    return failed(
      `${nameOf(early)} in ${place} is valid only from ${dayOf(early.validFrom)} on`,
      `set the clock of this machine (it says ${dayOf(now)}), or have another certificate issued`,
    );
  }
  if (endOf(soonest) <= now)
    return failed(`${nameOf(soonest)} in ${place} ended ${dayOf(endOf(soonest))}`, renew);
  const left = endOf(soonest) - now;
  const life = endOf(soonest) - Date.parse(soonest.validFrom);
  return left < Math.min(SOON_MS, life * SOON_SHARE)
    ? warning(`${nameOf(soonest)} in ${place} ends soon, ${dayOf(endOf(soonest))}`, renew)
    : ok(`valid until ${dayOf(endOf(soonest))}`);
}

/** The leaf comes first, and behind each certificate the one that has signed it. */
export function checkChain(chain: readonly X509Certificate[], file: string): Verdict<undefined> {
  const gap = chain.findIndex((certificate, at) => {
    const next = chain[at + 1];
    return next !== undefined && !certificate.checkIssued(next);
  });
  if (gap !== -1) {
    return failed(
      `${file} is no chain: certificate ${gap + 1} (${nameOf(chain[gap]!)}) was not issued by certificate ${gap + 2} (${nameOf(chain[gap + 1]!)})`,
      'put the certificate itself first, then each CA that issued the one before, and nothing else',
    );
  }
  if (chain[0]!.ca) {
    return warning(
      `the first certificate in ${file} (${nameOf(chain[0]!)}) is that of a CA, which many clients do not take from a server`,
      'have a certificate issued for the relay, and put it first in the file',
    );
  }
  return ok(`${nameOf(chain[0]!)}, issued by ${quote(commonNameOf(chain[0]!.issuer))}`);
}

export function checkUsage(
  certificate: X509Certificate,
  usage: keyof typeof USAGES,
  file: string,
): Verdict<undefined> {
  // Of Node's `keyUsage`: the OIDs of the extended key usage; without that extension every usage is allowed.
  const usages = certificate.keyUsage as string[] | undefined;
  return usages === undefined || usages.includes(USAGES[usage])
    ? ok(`may be used for ${usage}`)
    : failed(
        `${nameOf(certificate)} in ${file} may not be used for ${usage} (extended key usage), so the other side refuses it`,
        `have a certificate issued with the usage ${usage} (cert-manager: usages: [${usage === 'serverAuth' ? 'server' : 'client'} auth])`,
      );
}

/** @param host that the receiver listens at */
export function checkNames(certificate: X509Certificate, host: string, file: string): Verdict<undefined> {
  const names = certificate.subjectAltName;
  const others = 'have a certificate issued with the names, or addresses, by which clients reach the relay';
  if (names === undefined) {
    return failed(
      `${nameOf(certificate)} in ${file} has no subject alternative names, and clients compare no others`,
      others,
    );
  }
  const isOfOne = host !== '0.0.0.0' && host !== '::' && !isLoopback(isIP(host) === 6 ? `[${host}]` : host);
  const matches = isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host);
  return isOfOne && matches === undefined
    ? warning(`is for ${quote(names)}, and not for ${host}, where receiver.listen has it`, others)
    : ok(`is for ${quote(names)}`);
}

/** CAs of clients: those that are none, or are over, let nobody in. */
export function checkClientCas(
  cas: readonly X509Certificate[],
  now: number,
  file: string,
): Verdict<undefined> {
  const good = cas.filter((ca) => ca.ca && endOf(ca) > now && Date.parse(ca.validFrom) <= now);
  const bad = cas
    .filter((ca) => !good.includes(ca))
    .map(
      (ca) =>
        `${nameOf(ca)} ${ca.ca ? `is valid from ${dayOf(ca.validFrom)} to ${dayOf(endOf(ca))} only` : 'is no CA'}`,
    );
  const fix = `put the certificates of the CAs that sign the clients' certificates into ${file}`;
  if (good.length === 0)
    return failed(`no certificate in ${file} can vouch for clients: ${bad.join('; ')}`, fix);
  if (bad.length > 0) return warning(`in ${file} ${bad.join('; ')}`, fix);
  return ok(
    `clients need a certificate signed by ${good.map(({ subject }) => quote(commonNameOf(subject))).join(', ')}`,
  );
}

function endOf(certificate: X509Certificate): number {
  return Date.parse(certificate.validTo);
}

function nameOf(certificate: X509Certificate): string {
  return `the certificate ${quote(commonNameOf(certificate.subject))}`;
}

/** Node gives a line for each part of the name. */
function commonNameOf(name: string): string {
  return /^CN=(.+)$/m.exec(name)?.[1] ?? (name === '' ? 'without a name' : name);
}

function dayOf(time: number | string): string {
  return new Date(time).toISOString().replace('.000', '');
}
