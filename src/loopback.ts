import { isIPv4 } from 'node:net';

/** Whether the hostname of a URL is this machine itself, where nobody else can listen on the way. */
export function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'))
  );
}
