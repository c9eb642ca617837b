import fc from 'fast-check';
import { SecretMask } from '../../src/masking/secret-mask.ts';

/* Secrets, and the forms in which they come back. */

export const JWT = [
  Buffer.from('{"alg":"RS256","typ":"JWT"}'),
  Buffer.from('{"iss":"https://issuer.test","sub":"relay","aud":"mlflow","exp":1900000000}'),
  Buffer.alloc(256, 'signature of 256 bytes, as RS256 has it. '),
]
  .map((part) => part.toString('base64url'))
  .join('.');

/** RFC 6749 section 2.3.1. */
export const formEncoded = (text: string) => new URLSearchParams([['', text]]).toString().slice(1);
const lower = (text: string) => text.replaceAll(/%[\dA-F]{2}/g, (escape) => escape.toLowerCase());
const everyByte = (text: string) => Buffer.from(text).toString('hex').replaceAll(/../g, '%$&');
const everyUnit = (text: string) =>
  text.replaceAll(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
const inPage = (text: string) =>
  text.replaceAll(
    /[&<>"']/g,
    (character) =>
      ({ '&': '&amp;', '<': '&lt;', '>': '&#62;', '"': '&quot;', "'": '&#x27;' })[character] ?? '',
  );
const inJson = (text: string) => JSON.stringify(text).slice(1, -1);
const inPython = (text: string) => inJson(text).replaceAll("'", "\\'");

export const FORMS: Readonly<Record<string, (text: string) => string>> = {
  'as it is': (text) => text,
  'percent-encoded': encodeURIComponent,
  'percent-encoded in lower case': (text) => lower(encodeURIComponent(text)),
  'percent-encoded, each byte': everyByte,
  'form-encoded': formEncoded,
  'form-encoded in lower case': (text) => lower(formEncoded(text)),
  'in JSON': inJson,
  'in JSON in ASCII': everyUnit,
  'in JSON in JSON': (text) => inJson(inJson(text)),
  'as Python quotes it': inPython,
  'in a page': inPage,
  'in a page in JSON': (text) => inJson(inPage(text)),
  'percent-encoded in a page': (text) => inPage(encodeURIComponent(text)),
  'form-encoded twice': (text) => formEncoded(formEncoded(text)),
};
export const forms = fc.constantFrom(...Object.keys(FORMS));

export function maskOf(...secrets: readonly string[]): SecretMask {
  const mask = new SecretMask();
  for (const secret of secrets) mask.add(secret);
  return mask;
}

/** Of all that passwords are made of, and much that looks like an escape. */
export const secret = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 6, maxLength: 80 }),
  fc
    .array(
      fc.constantFrom('%41', '%', '+', ' ', '\\n', '\\', '"', "'", '&amp;', '&', '<', 'é', '🔑', 'Zq7'),
      {
        minLength: 6,
        maxLength: 20,
      },
    )
    .map((parts) => parts.join('')),
  fc.base64String({ minLength: 20, maxLength: 200 }),
  fc.constant(JWT),
);
