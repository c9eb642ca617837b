import { execFile } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import { networkWords } from '../network-words.ts';
import { failed, ok } from './checkup.ts';
import type { Verdict } from './checkup.ts';

/* The way to another machine. */

/** Which keys of the configuration lead there. */
export type Keys = { readonly url: string; readonly caFile: string; readonly certFile?: string };

/** `dns.lookup` of the name behind the script. */
const LOOKUP = `
import { lookup } from 'node:dns/promises';
try {
  console.log(JSON.stringify({ addresses: await lookup(process.argv[1], { all: true }) }));
} catch ({ message, code }) {
  console.log(JSON.stringify({ error: { message, code } }));
}`;

/** Looks its name up as every connection does. */
export async function checkAddress(url: URL, key: string, timeoutMs: number): Promise<Verdict<URL>> {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (isIP(host) !== 0) return ok(`${host} is an address`, url);
  try {
    const addresses = await lookUp(host, timeoutMs);
    return ok(`${host} is ${addresses.map(({ address }) => address).join(', ')}`, url);
  } catch (error) {
    return failed(
      networkWords(error, url, timeoutMs),
      `correct ${key}, or the DNS of this machine (/etc/resolv.conf; in Kubernetes: the name with its namespace, and a network policy that lets DNS out)`,
    );
  }
}

/**
 * What to do where there was no answer.
 * @param reason of `networkWords`
 */
export function wayFix(reason: string, url: URL, keys: Keys): string {
  const { host, hostname } = url;
  if (/not signed by a CA that is trusted/.test(reason)) {
    return `set ${keys.caFile} to a file with the certificate of the CA that issued it`;
  }
  if (/is not valid now/.test(reason))
    return `renew the certificate of ${host}, or set the clock of this machine`;
  if (/is for other names/.test(reason)) {
    return `give ${keys.url} a name of that certificate, or have one issued for ${hostname}`;
  }
  if (/does not speak TLS/.test(reason))
    return `correct the scheme or port of ${keys.url}, or set up TLS at ${host}`;
  if (/refused the TLS handshake/.test(reason) && keys.certFile !== undefined) {
    return `set ${keys.certFile} and its key_file to a certificate that ${host} takes`;
  }
  if (/in time|within|no route/.test(reason)) {
    return `let connections from here to ${host} through (firewalls, network policies), see that it is not overloaded, or correct ${keys.url}`;
  }
  return `see that it runs at ${host} and speaks ${url.protocol === 'https:' ? 'HTTPS' : 'HTTP'} there, or correct ${keys.url}`;
}

/** For the start of a process. */
const START_MS = 2_000;

type LookedUp = { addresses: { address: string }[] } | { error: { message: string; code: string } };

/** By a process of its own: a lookup cannot be given up, and the process that waits for it cannot end. */
async function lookUp(host: string, timeoutMs: number): Promise<{ address: string }[]> {
  let found: LookedUp;
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', LOOKUP, '--', host],
      { timeout: timeoutMs + START_MS, killSignal: 'SIGKILL' },
    );
    found = JSON.parse(stdout) as LookedUp;
  } catch (error) {
    // Without such a process (too many, forbidden, ended by others) it is looked up here: that is no fault of the DNS.
    if ((error as { killed?: boolean }).killed !== true) return await lookup(host, { all: true });
    throw Object.assign(new Error('the DNS server is slow'), { code: 'EAI_AGAIN' });
  }
  if ('error' in found) throw Object.assign(new Error(found.error.message), { code: found.error.code });
  return found.addresses;
}
