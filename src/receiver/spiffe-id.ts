/** A URI that begins so claims to be a SPIFFE id. A scheme may be written in any case (RFC 3986, 3.1). */
const SCHEME = /^spiffe:/i;
const PREFIX = 'spiffe://';
/** Bytes of the whole, and of the trust domain (SPIFFE-ID, 2.3). */
const MAX_ID = 2048;
const MAX_TRUST_DOMAIN = 255;
const TRUST_DOMAIN = /^[a-z0-9._-]+$/;
const SEGMENT = /^[A-Za-z0-9._-]+$/;

export function claimsSpiffe(uri: string): boolean {
  return SCHEME.test(uri);
}

/**
 * What keeps a URI from being the SPIFFE id of a workload (SPIFFE-ID, 2; X509-SVID, 5.2); undefined: nothing. Other
 * spellings of one id would be other senders, and so may not be: no user, port, query, fragment or percent-encoding.
 */
export function spiffeFault(uri: string): string | undefined {
  if (!uri.startsWith(PREFIX)) return `it does not begin with ${PREFIX}`;
  if (uri.length > MAX_ID) return `it has more than ${MAX_ID} bytes`;
  const [trustDomain = '', ...segments] = uri.slice(PREFIX.length).split('/');
  if (trustDomain === '') return 'it has no trust domain';
  if (trustDomain.length > MAX_TRUST_DOMAIN)
    return `its trust domain has more than ${MAX_TRUST_DOMAIN} bytes`;
  if (!TRUST_DOMAIN.test(trustDomain)) {
    return 'its trust domain has other characters than lower-case letters, digits, dots, hyphens and underscores';
  }
  if (segments.length === 0 || (segments.length === 1 && segments[0] === '')) {
    return 'it has no path, as only a CA may';
  }
  if (segments.includes('')) return 'its path has an empty segment or a slash at its end';
  if (segments.some((segment) => segment === '.' || segment === '..')) return 'its path has a dot segment';
  if (!segments.every((segment) => SEGMENT.test(segment))) {
    return 'its path has other characters than letters, digits, dots, hyphens and underscores';
  }
  return undefined;
}
