import type { Range } from './pieces.ts';

/* Texts as they were before somebody escaped them, as in JSON, a URL, a form or a page. Pure. */

/** A text without its escapes, and where each part of it stood. */
export type View = {
  readonly bytes: Uint8Array;
  readonly sourceOf: (range: Range) => Range;
};

/** Kinds of escapes. */
type Kind = {
  /** A text without this byte has no escapes of the kind, or is read as by another kind. */
  readonly needs: number;
  /** Bytes that escapes begin with. */
  readonly mark: number;
  readonly otherMark: number;
  /** The escape that begins there, as `escapeOf` writes it; NONE if there is none. */
  readonly escapeAt: (text: Buffer, at: number) => number;
};

const AMPERSAND = 0x26;
const BACKSLASH = 0x5c;
const PERCENT = 0x25;
const PLUS = 0x2b;
const SEMICOLON = 0x3b;

const KINDS: readonly Kind[] = [
  /** JSON (RFC 8259 section 7), JavaScript and Python. */
  { needs: BACKSLASH, mark: BACKSLASH, otherMark: BACKSLASH, escapeAt: backslashAt },
  /** RFC 3986 section 2.1. */
  { needs: PERCENT, mark: PERCENT, otherMark: PERCENT, escapeAt: percentAt },
  /** URL standard, application/x-www-form-urlencoded: a plus is a space. */
  { needs: PLUS, mark: PLUS, otherMark: PERCENT, escapeAt: formAt },
  /** HTML and XML. */
  { needs: AMPERSAND, mark: AMPERSAND, otherMark: AMPERSAND, escapeAt: entityAt },
];

/* An escape is one number, so that a text full of them makes no objects: its length, whether it is a byte, its code. */
const NONE = -1;
const LENGTH_BITS = 4;
const IS_BYTE = 1 << LENGTH_BITS;

/** Of a character; the half of a pair becomes U+FFFD, as UTF-8 has none. */
function escapeOf(character: number, length: number): number {
  const isHalf = character >= 0xd800 && character < 0xe000;
  return ((isHalf ? 0xfffd : character) << (LENGTH_BITS + 1)) | length;
}

function byteEscape(byte: number, length: number): number {
  return escapeOf(byte, length) | IS_BYTE;
}

/** What stands for what after a backslash. */
const SIMPLE = tableOf({
  '\\': '\\',
  '"': '"',
  "'": "'",
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
});
const ENTITIES = Object.entries({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }).map(
  ([name, character]) => ({ name: Buffer.from(name), code: character.charCodeAt(0) }),
);
/** The longest is `&#x10ffff;`, but for zeros in front. */
const LONGEST_ENTITY = 12;

/** Codes by code; -1 where there is none. */
function tableOf(codes: Readonly<Record<string, string>>): Int16Array {
  const table = new Int16Array(256).fill(-1);
  for (const [from, to] of Object.entries(codes)) table[from.charCodeAt(0)] = to.charCodeAt(0);
  return table;
}

/** What readers of each kind make of a text that has escapes of that kind. */
export function withoutEscapes(text: Uint8Array): View[] {
  const source = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
  return KINDS.map((kind) => {
    const first = firstEscape(source, kind);
    return first === -1 ? undefined : unescaped(source, kind, first);
  }).filter((view) => view !== undefined);
}

/** Where the first one is; -1 without any. */
function firstEscape(source: Buffer, { needs, mark, otherMark, escapeAt }: Kind): number {
  if (!source.includes(needs)) return -1;
  for (let at = 0; at < source.length; at++) {
    const byte = source[at];
    if ((byte === mark || byte === otherMark) && escapeAt(source, at) !== NONE) return at;
  }
  return -1;
}

function unescaped(source: Buffer, { mark, otherMark, escapeAt }: Kind, first: number): View {
  // No escape is shorter than what it stands for.
  const bytes = Buffer.allocUnsafe(source.length);
  /** By byte of the result behind the first escape, where what it comes from begins; at the end, where the source ends. */
  const starts = new Uint32Array(source.length - first + 1);
  source.copy(bytes, 0, 0, first);
  let length = first;
  for (let at = first; at < source.length;) {
    const byte = source[at] ?? 0;
    const escape = byte === mark || byte === otherMark ? escapeAt(source, at) : NONE;
    const begin = length;
    if (escape === NONE) {
      bytes[length++] = byte;
      starts[begin - first] = at++;
      continue;
    }
    length = writeEscape(escape, bytes, length);
    starts.fill(at, begin - first, length - first);
    at += escape & (IS_BYTE - 1);
  }
  starts[length - first] = source.length;
  const startOf = (at: number) => (at < first ? at : (starts[at - first] ?? source.length));
  return {
    bytes: bytes.subarray(0, length),
    sourceOf({ from, to }) {
      let end = to;
      while (end < length && startOf(end) === startOf(to - 1)) end++;
      return { from: startOf(from), to: startOf(end) };
    },
  };
}

/** Writes what it stands for, in UTF-8 (RFC 3629 section 3). Returns where that ends. */
function writeEscape(escape: number, bytes: Buffer, at: number): number {
  const code = escape >>> (LENGTH_BITS + 1);
  let end = at;
  if (code < 0x80 || (escape & IS_BYTE) !== 0) {
    bytes[end++] = code;
    return end;
  }
  if (code < 0x800) {
    bytes[end++] = 0xc0 | (code >> 6);
  } else {
    if (code < 0x10000) {
      bytes[end++] = 0xe0 | (code >> 12);
    } else {
      bytes[end++] = 0xf0 | (code >> 18);
      bytes[end++] = 0x80 | ((code >> 12) & 0x3f);
    }
    bytes[end++] = 0x80 | ((code >> 6) & 0x3f);
  }
  bytes[end++] = 0x80 | (code & 0x3f);
  return end;
}

function percentAt(text: Buffer, at: number): number {
  const byte = hexAt(text, at + 1, 2);
  return byte === NONE ? NONE : byteEscape(byte, 3);
}

function formAt(text: Buffer, at: number): number {
  return text[at] === PLUS ? byteEscape(0x20, 1) : percentAt(text, at);
}

function backslashAt(text: Buffer, at: number): number {
  const kind = text[at + 1] ?? 0;
  if (kind === 0x78) {
    const byte = hexAt(text, at + 2, 2);
    return byte === NONE ? NONE : byteEscape(byte, 4);
  }
  if (kind === 0x75) return unitAt(text, at);
  const code = SIMPLE[kind] ?? -1;
  return code === -1 ? NONE : byteEscape(code, 2);
}

/** `\uXXXX`, or two of them that are a pair. */
function unitAt(text: Buffer, at: number): number {
  const unit = hexAt(text, at + 2, 4);
  if (unit === NONE) return NONE;
  const isPair = unit >= 0xd800 && unit < 0xdc00 && text[at + 6] === BACKSLASH && text[at + 7] === 0x75;
  const second = isPair ? hexAt(text, at + 8, 4) : NONE;
  const isWhole = second >= 0xdc00 && second < 0xe000;
  return isWhole ? escapeOf(0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00), 12) : escapeOf(unit, 6);
}

/** `&amp;`, `&#38;` or `&#x26;`. */
function entityAt(text: Buffer, at: number): number {
  if (text[at + 1] === 0x23) return numberAt(text, at);
  for (const { name, code } of ENTITIES) {
    let same = 0;
    while (same < name.length && text[at + 1 + same] === name[same]) same++;
    if (same === name.length && text[at + 1 + same] === SEMICOLON) return byteEscape(code, same + 2);
  }
  return NONE;
}

function numberAt(text: Buffer, at: number): number {
  const isHex = ((text[at + 2] ?? 0) | 0x20) === 0x78;
  const base = isHex ? 16 : 10;
  const begin = at + (isHex ? 3 : 2);
  let code = 0;
  for (let end = begin; end < at + LONGEST_ENTITY; end++) {
    const byte = text[end] ?? 0;
    if (byte === SEMICOLON) return end > begin && code <= 0x10ffff ? escapeOf(code, end - at + 1) : NONE;
    const digit = hexDigit(byte);
    if (digit === NONE || digit >= base) return NONE;
    code = code * base + digit;
  }
  return NONE;
}

/** So many hexadecimal digits, in upper or lower case. */
function hexAt(text: Buffer, at: number, digits: number): number {
  let value = 0;
  for (let index = at; index < at + digits; index++) {
    const digit = hexDigit(text[index] ?? 0);
    if (digit === NONE) return NONE;
    value = value * 16 + digit;
  }
  return value;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : NONE;
}
