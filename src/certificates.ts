import { X509Certificate } from 'node:crypto';
import { messageOf } from './errors.ts';

/**
 * The certificates of a PEM file, one at least. OpenSSL passes over what it cannot read in a CA file, and would
 * then trust nobody without a word.
 * @throws Error in words that follow the name of the file
 */
export function parseCertificates(pem: string): X509Certificate[] {
  const blocks =
    pem.match(/-----BEGIN (TRUSTED )?CERTIFICATE-----[^-]+-----END (TRUSTED )?CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) {
    throw new Error('holds no certificate; give certificates in PEM (-----BEGIN CERTIFICATE-----)');
  }
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      const problem = `holds a certificate that cannot be read (number ${index + 1})`;
      throw new Error(`${problem} (${messageOf(cause)}); give certificates in PEM`, { cause });
    }
  });
}
