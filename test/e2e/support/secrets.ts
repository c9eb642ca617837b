/** What must never be seen, by the words that a failing test says. */
export type Secrets = Record<string, string>;

/** A JWT, as all access tokens here are. */
const TOKEN = /eyJ[\w-]{8,}\.eyJ[\w-]{8,}/;

/**
 * Where in `outputs` one of the secrets, or any access token or private key, stands.
 * @param outputs texts by their names
 * @returns one line for each find; empty when all is well
 */
export function findSecrets(outputs: Record<string, string>, secrets: Secrets): string[] {
  const found: string[] = [];
  for (const [where, text] of Object.entries(outputs)) {
    for (const [what, secret] of Object.entries(secrets)) {
      if (formsOf(secret).some((form) => text.includes(form))) found.push(`${what} in ${where}`);
    }
    if (TOKEN.test(text)) found.push(`an access token in ${where}`);
    if (/PRIVATE KEY/.test(text)) found.push(`a private key in ${where}`);
  }
  return found;
}

/** As it is, in JSON, in a form or URL, and at the places that base64 can shift it to. */
function formsOf(secret: string): string[] {
  const shifted = ['', 'x', 'xx'].map((before) => {
    const encoded = Buffer.from(before + secret).toString('base64');
    return encoded.slice(before.length + 2, -4);
  });
  return [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret), ...shifted];
}

/** The lines of a PEM file between its marks, as one text and as they stand there. */
export function pemSecrets(what: string, pem: string): Secrets {
  const body = pem.replace(/-----[^-]+-----/g, '').trim();
  return { [what]: body.replaceAll('\n', ''), [`${what} (by lines)`]: body };
}
