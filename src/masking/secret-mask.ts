import { withoutEscapes } from './escapes.ts';
import { PieceIndex, joined } from './pieces.ts';
import type { Range } from './pieces.ts';

/* What was sent as a secret is taken out of what comes back, before anybody reads it. Pure. */

/** Stands where a secret was. */
export const MASKED = '[secret]';

/** A shorter one is no secret worth the name, and is part of half of all words. */
const SHORTEST_SECRET = 6;

/** So much of a longer one is enough to be masked, in bytes: somebody may have cut it off, or taken it apart. */
const SHORTEST_PIECE = 16;

/** An answer may tell of the token before, as one that a proxy had kept. */
const MOST_SECRETS = 8;

/** A secret is found behind so many layers of escapes, as in JSON in JSON. In more than an error has, one is looked behind. */
const MOST_LAYERS = 2;
const LARGEST_LAYERED = 64 * 1024;

/** Parameters of a form that are secret (RFC 6749, RFC 7009, RFC 7521, RFC 8628). */
const SECRET_PARAMETERS = [
  'client_secret',
  'client_assertion',
  'password',
  'refresh_token',
  'token',
  'device_code',
];

/** Knows the secrets that one client sends, and hides them in what comes back. */
export class SecretMask {
  /** The one sent last at the end. */
  readonly #secrets = new Set<string>();
  #index: PieceIndex | undefined;

  /** To be told before it is sent. The last eight are masked. */
  add(secret: string): void {
    if (secret.length < SHORTEST_SECRET) return;
    const isKnown = this.#secrets.delete(secret);
    this.#secrets.add(secret);
    if (isKnown) return;
    this.#index = undefined;
    if (this.#secrets.size > MOST_SECRETS) this.#secrets.delete(this.#secrets.values().next().value ?? '');
  }

  /** Adds what is secret in the headers of a request: credentials as they stand there, and the secret of a client. */
  addHeaders(headers: Readonly<Record<string, string>>): void {
    for (const [name, value] of Object.entries(headers)) {
      if (name.toLowerCase() !== 'authorization') continue;
      const [, scheme = '', credentials = ''] = /^(\S+) +(.*)$/s.exec(value) ?? [value, '', value];
      this.add(credentials);
      if (!/^basic$/i.test(scheme)) continue;
      // RFC 6749 section 2.3.1: name and secret are form-encoded; masking sees through that.
      const secret = Buffer.from(credentials, 'base64')
        .toString('utf8')
        .replace(/^[^:]*:/, '');
      this.add(secret);
      this.add(formDecoded(secret));
    }
  }

  /** Adds what is secret in a form that an issuer is sent. */
  addForm(parameters: URLSearchParams): void {
    for (const name of SECRET_PARAMETERS) this.add(parameters.get(name) ?? '');
  }

  /** Parts of secrets become `[secret]`; a text without any is what it was. */
  text(text: string): string {
    const bytes = Buffer.from(text);
    const masked = this.bytes(bytes);
    return masked === bytes ? text : masked.toString('utf8');
  }

  /**
   * As `text`, of bytes in UTF-8; the same bytes where there is nothing to hide.
   * @param keepsLength for what has lengths written in it, as protobuf: asterisks, one for each byte
   */
  bytes(body: Buffer, { keepsLength = false } = {}): Buffer {
    if (this.#secrets.size === 0 || body.length < SHORTEST_SECRET) return body;
    const ranges = this.#find(body);
    if (ranges.length === 0) return body;
    if (!keepsLength) return replaced(body, ranges);
    const masked = Buffer.from(body);
    for (const { from, to } of ranges) masked.fill('*', from, to);
    return masked;
  }

  #find(body: Buffer): Range[] {
    this.#index ??= new PieceIndex([...this.#secrets], SHORTEST_PIECE);
    const index = this.#index;
    const layers = body.length <= LARGEST_LAYERED ? MOST_LAYERS : 1;
    const find = (text: Uint8Array, depth: number): Range[] => {
      const found = index.find(text);
      if (depth === layers) return found;
      const behind = withoutEscapes(text).map(({ bytes, sourceOf }) => find(bytes, depth + 1).map(sourceOf));
      return found.concat(...behind);
    };
    return joined(find(body, 0));
  }
}

function formDecoded(text: string): string {
  return new URLSearchParams(`s=${text.replaceAll('&', '%26')}`).get('s') ?? '';
}

function replaced(body: Buffer, ranges: readonly Range[]): Buffer {
  const parts: Buffer[] = [];
  let end = 0;
  for (const range of ranges) {
    // Never half a character.
    let { from, to } = range;
    while (from > end && isInsideCharacter(body, from)) from--;
    while (to < body.length && isInsideCharacter(body, to)) to++;
    parts.push(body.subarray(end, from), Buffer.from(MASKED));
    end = to;
  }
  return Buffer.concat([...parts, body.subarray(end)]);
}

function isInsideCharacter(utf8: Buffer, at: number): boolean {
  return ((utf8[at] ?? 0) & 0xc0) === 0x80;
}
