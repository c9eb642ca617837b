import { X509Certificate } from 'node:crypto';
import { messageOf } from './errors.ts';

/** A part of a PEM file (RFC 7468): what it is, the line that it begins at, and its text with both of its boundaries. */
type PemBlock = { readonly label: string; readonly line: number; readonly text: string };

/** All that OpenSSL takes for a certificate. */
const CERTIFICATE = /^(?:X509 |TRUSTED )?CERTIFICATE$/;
const BEGIN = /^-----BEGIN (.+)-----$/;
/** A boundary, or what was meant to be one: OpenSSL passes over a line in which anything else stands, a BOM or a space too. */
const LIKE_BOUNDARY = /-{2,}\s*(?:BEGIN|END)\b/;

/**
 * The certificates of a PEM file, one at least; other blocks, such as a key, may stand beside them. OpenSSL passes
 * over what it cannot read in such a file, with all that follows it, and would trust fewer without a word.
 * @throws Error in words that follow the name of the file
 */
export function parseCertificates(pem: string): X509Certificate[] {
  return certificatesOf(pemBlocks(pem));
}

/**
 * The certificates of a PEM file that says whom to trust, one at least, and nothing else may be in it: OpenSSL would
 * pass over a revocation list, for one, and trust whom it revokes.
 * @throws Error in words that follow the name of the file
 */
export function parseAuthorities(pem: string): X509Certificate[] {
  const blocks = pemBlocks(pem);
  const other = blocks.find(({ label }) => !CERTIFICATE.test(label));
  if (other !== undefined) throw new Error(wordsOfOther(other));
  return certificatesOf(blocks);
}

function certificatesOf(blocks: readonly PemBlock[]): X509Certificate[] {
  const certificates = blocks.filter(({ label }) => CERTIFICATE.test(label));
  if (certificates.length === 0) {
    throw new Error('holds no certificate; give certificates in PEM (-----BEGIN CERTIFICATE-----)');
  }
  return certificates.map(({ text, line }, index) => {
    try {
      return new X509Certificate(text);
    } catch (cause) {
      const problem = `holds a certificate that cannot be read (number ${index + 1}) at line ${line}`;
      throw new Error(`${problem} (${messageOf(cause)}); give certificates in PEM`, { cause });
    }
  });
}

function wordsOfOther({ label, line }: PemBlock): string {
  if (label === 'X509 CRL') {
    return `holds a revocation list (at line ${line}), and revocation lists are not checked yet, so that whom it revokes would be trusted; take it out, and keep revoked certificates out in another way, such as certificates that end soon`;
  }
  if (label.endsWith('PRIVATE KEY')) {
    return `holds a private key (at line ${line}), and is a file of certificates, which many may read; take the key out`;
  }
  return `holds something that is no certificate (${label.slice(0, 50)}, at line ${line}), and would be passed over; take it out, or give it as certificates in PEM`;
}

/** @throws Error where a boundary is broken, or a block has no end */
function pemBlocks(pem: string): PemBlock[] {
  const lines = pem.split('\n').map((line) => line.trimEnd());
  const blocks: PemBlock[] = [];
  let open: { label: string; at: number } | undefined;
  for (const [at, line] of lines.entries()) {
    if (!LIKE_BOUNDARY.test(line)) continue;
    const begin = BEGIN.exec(line)?.[1];
    if (open !== undefined && line === `-----END ${open.label}-----`) {
      const text = `${lines.slice(open.at, at + 1).join('\n')}\n`;
      blocks.push({ label: open.label, line: open.at + 1, text });
      open = undefined;
    } else if (open === undefined && begin !== undefined) open = { label: begin, at };
    else if (open === undefined) throw new Error(brokenAt(at, line));
    else break;
  }
  if (open === undefined) return blocks;
  throw new Error(
    `holds a ${open.label.slice(0, 50)} without its end (at line ${open.at + 1}): it was cut off; write the whole file again`,
  );
}

function brokenAt(at: number, line: string): string {
  const seen = JSON.stringify(line.slice(0, 60));
  return `has a broken line ${at + 1} (${seen}): write -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----, each on a line of its own with nothing before it`;
}
