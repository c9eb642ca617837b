import type { Name } from '@peculiar/asn1-x509';

/** Who a client certificate says the client is. Names are as in the certificate, DNS names in lower case. */
export type ClientIdentity = {
  /** The first SPIFFE id, else the first DNS name, else `CN=…`, else `certificate without a name`. */
  readonly sender: string;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
};

/** A SPIFFE id has at most 2048 bytes (SPIFFE-ID, section 2.3); longer names are no identities. */
const MAX_NAME = 2048;
/** ub-common-name of RFC 5280 is 64; some CAs allow more. */
const MAX_COMMON_NAME = 256;
/** More names of a kind than any client needs; what follows them is left out. */
const MAX_NAMES = 100;

const COMMON_NAME = '2.5.4.3';

/** Printable ASCII without space: what RFC 3986 allows, and no look-alike or control character can stand in it. */
const URI = /^[a-z][a-z0-9+.-]*:[!-~]+$/i;
/** Path segments that mean another place than they spell (RFC 3986 section 5.2.4), percent-encoded or not. */
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?=[/?#]|$)/i;
/** Letters, digits, hyphen, underscore, and `*` of a wildcard certificate: never a `:` or `=`, so no DNS name can pass for a URI or a CN. */
const DNS_NAME = /^[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*$/i;

function isName(name: string, form: RegExp): boolean {
  return name.length <= MAX_NAME && form.test(name);
}

/** Makes an identity of the names in a certificate (RFC 5280, 4.2.1.6). Names that are malformed are left out. */
export function identityOf(names: {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly subject: Name;
}): ClientIdentity {
  const uris = names.uris.filter((uri) => isName(uri, URI) && !DOT_SEGMENT.test(uri)).slice(0, MAX_NAMES);
  const dnsNames = names.dnsNames
    .filter((name) => isName(name, DNS_NAME))
    .slice(0, MAX_NAMES)
    .map((name) => name.toLowerCase());
  const sender =
    uris.find((uri) => uri.startsWith('spiffe://')) ?? dnsNames[0] ?? commonNameOf(names.subject);
  return { sender, uris, dnsNames };
}

function commonNameOf(subject: Name): string {
  for (const relativeName of subject) {
    const value = relativeName.find(({ type }) => type === COMMON_NAME)?.value.toString() ?? '';
    const name = value.replaceAll(/\p{C}/gu, '?').slice(0, MAX_COMMON_NAME);
    if (name !== '') return `CN=${name}`;
  }
  return 'certificate without a name';
}

/**
 * Makes the check of `allowed_clients`. A pattern with a `:` is held against URIs, any other against DNS names
 * (case-insensitive). `*` stands for one or more characters within one segment: no `/`, `?` or `#` in a URI,
 * no `.` in a DNS name. No patterns: everybody whom the CA vouches for.
 */
export function createClientCheck(patterns: readonly string[]): (identity: ClientIdentity) => boolean {
  if (patterns.length === 0) return () => true;
  const uriPatterns: Matcher[] = [];
  const dnsPatterns: Matcher[] = [];
  for (const pattern of patterns) {
    if (pattern.includes(':')) uriPatterns.push(compile(pattern, /([/?#])/));
    else dnsPatterns.push(compile(pattern.toLowerCase(), /(\.)/));
  }
  return ({ uris, dnsNames }) =>
    uris.some((uri) => uriPatterns.some((matches) => matches(uri))) ||
    dnsNames.some((name) => dnsPatterns.some((matches) => matches(name)));
}

type Matcher = (name: string) => boolean;

/** No regular expression of the pattern: with several `*` it tries every way to share a client's name among them. */
function compile(pattern: string, separator: RegExp): Matcher {
  // Its group keeps the separators, which have to be the same ones.
  const globs = pattern.split(separator).map((segment) => segment.split(/\*+/));
  return (name) => {
    const segments = name.split(separator);
    return segments.length === globs.length && segments.every((text, at) => matchesGlob(text, globs[at]!));
  };
}

/** Whether the text is these literals with one or more characters between each two, each taken where it comes first. */
function matchesGlob(text: string, [first = '', ...others]: readonly string[]): boolean {
  const last = others.pop();
  if (last === undefined) return text === first;
  if (!text.startsWith(first) || !text.endsWith(last)) return false;
  let end = first.length;
  for (const literal of others) {
    const start = text.indexOf(literal, end + 1);
    if (start === -1) return false;
    end = start + literal.length;
  }
  return end + 1 <= text.length - last.length;
}

/** The names of an identity in one line, for the client's and the operator's eyes. */
export function describeIdentity({ sender, uris, dnsNames }: ClientIdentity): string {
  const names = [...uris, ...dnsNames];
  if (names.length === 0)
    return `${sender} (a certificate without a SPIFFE id or DNS name, which alone are compared)`;
  const others = names.filter((name) => name !== sender).slice(0, 5);
  return others.length === 0 ? sender : `${sender} (also ${others.join(', ')})`;
}

/** A name of any form, so that it breaks no line and is not long. */
export function quoteName(name: string): string {
  return JSON.stringify(name.replaceAll(/\p{C}/gu, '?').slice(0, MAX_COMMON_NAME));
}
