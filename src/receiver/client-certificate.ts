import { AsnConvert } from '@peculiar/asn1-schema';
import {
  BasicConstraints,
  Certificate,
  KeyUsage,
  KeyUsageFlags,
  SubjectAlternativeName,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_subjectAltName,
} from '@peculiar/asn1-x509';
import { identityOf, quoteName } from './client-identity.ts';
import type { ClientIdentity } from './client-identity.ts';
import type { RefusalReason } from './refusal.ts';
import { claimsSpiffe, spiffeFault } from './spiffe-id.ts';

export type ClientCertificate = {
  /** With a fault the common name alone: the other names are not proven to be its own. */
  readonly identity: ClientIdentity;
  /** Milliseconds since the epoch; both belong to its time. */
  readonly validFrom: number;
  readonly validTo: number;
  /** Why nobody may send with it, whoever signed it. */
  readonly fault?: { readonly reason: RefusalReason; readonly message: string };
};

type TbsCertificate = Certificate['tbsCertificate'];

/**
 * Reads the DER of a client certificate (RFC 5280), never a printed form of it, in which one name can pass for
 * several.
 *
 * @throws Error when it cannot be read
 */
export function readClientCertificate(der: Uint8Array): ClientCertificate {
  const { tbsCertificate } = AsnConvert.parse(der, Certificate);
  const validFrom = tbsCertificate.validity.notBefore.getTime().getTime();
  const validTo = tbsCertificate.validity.notAfter.getTime().getTime();
  if (Number.isNaN(validFrom) || Number.isNaN(validTo)) throw new Error('its time cannot be read');

  const names = extensionOf(tbsCertificate, id_ce_subjectAltName, SubjectAlternativeName) ?? [];
  const uris: string[] = [];
  const dnsNames: string[] = [];
  for (const { uniformResourceIdentifier: uri, dNSName: dns } of names) {
    if (uri !== undefined) uris.push(uri);
    if (dns !== undefined) dnsNames.push(dns);
  }
  const { subject } = tbsCertificate;
  const fault = faultOfKind(tbsCertificate) ?? faultOfUris(uris);
  if (fault === undefined) return { identity: identityOf({ uris, dnsNames, subject }), validFrom, validTo };
  // Names that it may not claim are those of others, whose lines in the log and whose places they would take.
  const identity = identityOf({ uris: [], dnsNames: [], subject });
  return { identity, validFrom, validTo, fault };
}

/** Whoever has the key of a CA can be anybody, and is nobody: a CA's certificate is no client's (X509-SVID, 5.2). */
function faultOfKind(tbs: TbsCertificate): ClientCertificate['fault'] {
  const isCa = extensionOf(tbs, id_ce_basicConstraints, BasicConstraints)?.cA === true;
  const usage = extensionOf(tbs, id_ce_keyUsage, KeyUsage)?.toNumber() ?? 0;
  const signs = (usage & (KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)) !== 0;
  if (!isCa && !signs) return undefined;
  const seen = isCa ? 'basic constraints CA:TRUE' : 'key usage keyCertSign or cRLSign';
  const message = `the client certificate is that of a CA (${seen}): have a certificate issued for the client itself`;
  return { reason: 'certificate_of_ca', message };
}

/** A certificate with a SPIFFE id has exactly one URI, which is the id (X509-SVID, 2 and 5.2). */
function faultOfUris(uris: readonly string[]): ClientCertificate['fault'] {
  const id = uris.find(claimsSpiffe);
  if (id === undefined) return undefined;
  if (uris.length > 1) {
    const message = `the client certificate has ${uris.length} URIs, and a certificate with a SPIFFE id may have no other URI (X509-SVID, section 2): have one issued with that id alone`;
    return { reason: 'uri_names', message };
  }
  const fault = spiffeFault(id);
  if (fault === undefined) return undefined;
  const message = `the client certificate has the malformed SPIFFE id ${quoteName(id)}: ${fault}`;
  return { reason: 'spiffe_id', message };
}

/**
 * Undefined: it has none.
 * @throws Error when it is there twice (RFC 5280, 4.2), or cannot be read
 */
function extensionOf<T>(
  { extensions = [] }: Pick<TbsCertificate, 'extensions'>,
  id: string,
  type: new () => T,
): T | undefined {
  const found = [...extensions].filter(({ extnID }) => extnID === id);
  if (found.length > 1) throw new Error(`the extension ${id} is there ${found.length} times`);
  return found[0] && AsnConvert.parse(found[0].extnValue, type);
}
