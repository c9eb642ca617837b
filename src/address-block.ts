/**
 * By what an address counts as one client: an IPv4 address as it is, of an IPv6 address the first 64 bits, since one
 * machine has all addresses that begin with them (RFC 4291, 2.5.4).
 */
export function addressBlock(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  // An IPv4 address, as a socket that takes both kinds shows it (RFC 4291, 2.5.5.2).
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped !== null) return mapped[1]!;
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('%', 1)[0]!.split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const behind = tail === '' ? [] : tail.split(':');
    while (groups.length + behind.length < 8) groups.push('0');
    groups.push(...behind);
  }
  return `${groups.slice(0, 4).join(':')}::/64`;
}
