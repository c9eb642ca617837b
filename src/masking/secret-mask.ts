import { setImmediate } from 'node:timers/promises';
import { concatInTurns } from '../concat-in-turns.ts';
import { withoutEscapes } from './escapes.ts';
import { PIECE, PieceIndex, joined } from './pieces.ts';
import type { Range } from './pieces.ts';

/* What was sent as a secret is taken out of what comes back, before anybody reads it. Pure. */

/** Stands where a secret was. */
export const MASKED = '[secret]';

/** A shorter one is no secret worth the name, and is part of half of all words. */
const SHORTEST_SECRET = 6;

/** An answer may tell of the token before, as one that a proxy had kept. */
const MOST_SECRETS = 8;

/** A secret is found behind so many layers of escapes, as in JSON in JSON. In more than an error has, one is looked behind. */
const MOST_LAYERS = 2;
const LARGEST_LAYERED = 64 * 1024;

/** So many bytes are looked through at a time, which takes a millisecond or two; others have their turn after it. */
export const SLICE = 16 * 1024;

/** The longest escape; behind two layers each byte of one may be such a one. */
const LONGEST_ESCAPE = 12;

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

  /**
   * Parts of secrets become `[secret]`; a text without any is what it was. For headers and messages: it holds all others
   * up for as long as that takes, about 0.1 ms a KiB at worst.
   */
  text(text: string): string {
    const bytes = Buffer.from(text);
    if (this.#hasNone(bytes)) return text;
    const found = findIn(this.#current(), bytes, MOST_LAYERS);
    const ranges = joined(found.map((range) => wholeCharacters(bytes, range)));
    return ranges.length === 0
      ? text
      : replaced(bytes, { from: 0, to: bytes.length }, ranges).toString('utf8');
  }

  /**
   * As `text`, of bytes in UTF-8 that may be many: it goes slice by slice, and lets others have their turn between them.
   * The same bytes where there is nothing to hide.
   * @param keepsLength for what has lengths written in it, as protobuf: asterisks, one for each byte
   */
  async bytes(body: Buffer, { keepsLength = false } = {}): Promise<Buffer> {
    if (this.#hasNone(body)) return body;
    const [extent, write] = keepsLength ? [sameRange, blotted] : [wholeCharacters, replaced];
    const parts: Buffer[] = [];
    let size = 0;
    let isTouched = false;
    for await (const { from, to, ranges } of settledParts(body, this.#current(), extent)) {
      isTouched ||= ranges.length > 0;
      const part = write(body, { from, to }, ranges);
      parts.push(part);
      size += part.length;
    }
    return isTouched ? await concatInTurns(parts, size) : body;
  }

  #hasNone(text: Buffer): boolean {
    return this.#secrets.size === 0 || text.length < SHORTEST_SECRET;
  }

  #current(): PieceIndex {
    return (this.#index ??= new PieceIndex([...this.#secrets]));
  }
}

type Part = Range & {
  /** Of what is to be hidden in it, in order. */
  readonly ranges: readonly Range[];
};

/** How much goes where a secret was found. */
type Extent = (body: Buffer, range: Range) => Range;

/** A body in parts, slice by slice. */
async function* settledParts(body: Buffer, index: PieceIndex, extent: Extent): AsyncGenerator<Part> {
  const layers = body.length <= LARGEST_LAYERED ? MOST_LAYERS : 1;
  // Looked at again in the next slice: the longest form of a piece, and before it what may be a half escape.
  const overlap = 2 * PIECE * LONGEST_ESCAPE ** layers;
  let settled = 0;
  /** What touches the next slice, and may go on there. */
  let open: Range[] = [];
  for (let from = 0; settled < body.length;) {
    const to = Math.min(from + SLICE, body.length);
    const isLast = to === body.length;
    const next = isLast ? to : to - overlap;
    const found = findIn(index, body.subarray(from, to), layers, from);
    const ranges = joined(open.concat(found.map((range) => extent(body, range))));
    open = isLast ? [] : ranges.filter((range) => range.to >= next);
    const end = Math.min(open[0]?.from ?? next, next);
    yield { from: settled, to: end, ranges: ranges.slice(0, ranges.length - open.length) };
    settled = end;
    from = next;
    if (!isLast) await setImmediate();
  }
}

/** What is to be hidden in a slice, and behind its escapes; `from`: where the slice begins. */
function findIn(index: PieceIndex, slice: Uint8Array, layers: number, from = 0): Range[] {
  const found = index.find(slice);
  if (layers > 0) {
    for (const { bytes, sourceOf } of withoutEscapes(slice)) {
      for (const range of findIn(index, bytes, layers - 1)) found.push(sourceOf(range));
    }
  }
  return from === 0 ? found : found.map((range) => ({ from: range.from + from, to: range.to + from }));
}

function formDecoded(text: string): string {
  return new URLSearchParams(`s=${text.replaceAll('&', '%26')}`).get('s') ?? '';
}

/** A part of a body with `[secret]` in place of each range. */
function replaced(body: Buffer, part: Range, ranges: readonly Range[]): Buffer {
  if (ranges.length === 0) return body.subarray(part.from, part.to);
  const mark = Buffer.from(MASKED);
  const written: Buffer[] = [];
  let end = part.from;
  for (const { from, to } of ranges) {
    written.push(body.subarray(end, from), mark);
    end = to;
  }
  return Buffer.concat([...written, body.subarray(end, part.to)]);
}

/** A part of a body with an asterisk in place of each byte of the ranges. */
function blotted(body: Buffer, part: Range, ranges: readonly Range[]): Buffer {
  if (ranges.length === 0) return body.subarray(part.from, part.to);
  const copy = Buffer.from(body.subarray(part.from, part.to));
  for (const { from, to } of ranges) copy.fill('*', from - part.from, to - part.from);
  return copy;
}

function sameRange(_: Buffer, range: Range): Range {
  return range;
}

/** Never half a character, which has four bytes at most. */
function wholeCharacters(utf8: Buffer, { from, to }: Range): Range {
  let start = from;
  while (start > 0 && start > from - 3 && isInsideCharacter(utf8, start)) start--;
  let end = to;
  while (end < to + 3 && isInsideCharacter(utf8, end)) end++;
  return { from: start, to: end };
}

function isInsideCharacter(utf8: Buffer, at: number): boolean {
  return ((utf8[at] ?? 0) & 0xc0) === 0x80;
}
