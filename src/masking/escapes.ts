import type { Range } from './pieces.ts';

/* Texts as they were before somebody escaped them, as in JSON, a URL, a form or a page. Pure. */

/** A text without its escapes, and where each part of it stood. */
export type View = {
  readonly bytes: Uint8Array;
  readonly sourceOf: (range: Range) => Range;
};

/** Kinds of escapes, with the bytes that they begin with. A text without the first of these is not of that kind. */
const KINDS = {
  /** JSON (RFC 8259 section 7), JavaScript and Python. */
  backslash: { marks: [0x5c, 0x5c], escapeAt: backslashAt },
  /** RFC 3986 section 2.1. */
  percent: { marks: [0x25, 0x25], escapeAt: percentAt },
  /** URL standard, application/x-www-form-urlencoded: a plus is a space. */
  form: { marks: [0x2b, 0x25], escapeAt: formAt },
  /** HTML and XML. */
  entity: { marks: [0x26, 0x26], escapeAt: entityAt },
} as const;

type Escape = { readonly bytes: Uint8Array; readonly length: number };
type Kind = (typeof KINDS)[keyof typeof KINDS];

const SIMPLE: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
/** The longest is `&#x10ffff;`, but for zeros in front. */
const LONGEST_ENTITY = 12;

const BACKSLASH = 0x5c;
const PLUS = 0x2b;

/** What readers of each kind make of a text that has escapes of that kind. */
export function withoutEscapes(text: Uint8Array): View[] {
  return Object.values(KINDS)
    .map((kind) => unescaped(text, kind))
    .filter((view) => view !== undefined);
}

/** Undefined where there is nothing to take out. */
function unescaped(text: Uint8Array, { marks: [mark, otherMark], escapeAt }: Kind): View | undefined {
  const source = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
  if (!source.includes(mark)) return undefined;
  // No escape is shorter than what it stands for.
  const bytes = Buffer.allocUnsafe(source.length);
  /** By byte of the result, where the escape that it comes from begins; and at the end, where the source ends. */
  const starts = new Uint32Array(source.length + 1);
  let length = 0;
  for (let at = 0; at < source.length;) {
    const byte = source[at] ?? 0;
    const escape = byte === mark || byte === otherMark ? escapeAt(source, at) : undefined;
    starts[length] = at;
    if (escape === undefined) {
      bytes[length++] = byte;
      at++;
      continue;
    }
    for (const unescapedByte of escape.bytes) {
      starts[length] = at;
      bytes[length++] = unescapedByte;
    }
    at += escape.length;
  }
  starts[length] = source.length;
  return {
    bytes: bytes.subarray(0, length),
    sourceOf({ from, to }) {
      let end = to;
      while (end < length && starts[end] === starts[to - 1]) end++;
      return { from: starts[from] ?? 0, to: starts[end] ?? source.length };
    },
  };
}

function percentAt(text: Buffer, at: number): Escape | undefined {
  const byte = hexAt(text, at + 1, 2);
  return byte === undefined ? undefined : { bytes: single(byte), length: 3 };
}

function formAt(text: Buffer, at: number): Escape | undefined {
  return text[at] === PLUS ? { bytes: single(0x20), length: 1 } : percentAt(text, at);
}

function backslashAt(text: Buffer, at: number): Escape | undefined {
  const kind = String.fromCharCode(text[at + 1] ?? 0);
  if (kind === 'x') {
    const byte = hexAt(text, at + 2, 2);
    return byte === undefined ? undefined : { bytes: single(byte), length: 4 };
  }
  if (kind === 'u') {
    const unit = hexAt(text, at + 2, 4);
    if (unit === undefined) return undefined;
    const isPair = unit >= 0xd800 && unit < 0xdc00 && text[at + 6] === BACKSLASH && text[at + 7] === 0x75;
    const second = isPair ? hexAt(text, at + 8, 4) : undefined;
    const isWhole = second !== undefined && second >= 0xdc00 && second < 0xe000;
    const character = isWhole ? String.fromCharCode(unit, second) : String.fromCharCode(unit);
    return { bytes: Buffer.from(character), length: isWhole ? 12 : 6 };
  }
  if (!/^[\\"'/bfnrt]$/.test(kind)) return undefined;
  return { bytes: single((SIMPLE[kind] ?? kind).charCodeAt(0)), length: 2 };
}

function entityAt(text: Buffer, at: number): Escape | undefined {
  const near = text.toString('latin1', at, at + LONGEST_ENTITY);
  const [whole = '', decimal, hex, name = ''] = /^&(?:#(\d+)|#x([\da-f]+)|(\w+));/i.exec(near) ?? [];
  if (whole === '') return undefined;
  const code = decimal === undefined ? hex && Number.parseInt(hex, 16) : Number(decimal);
  const character =
    typeof code === 'number' ? code <= 0x10ffff && String.fromCodePoint(code) : ENTITIES[name];
  return character ? { bytes: Buffer.from(character), length: whole.length } : undefined;
}

const SINGLES = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));

function single(byte: number): Uint8Array {
  return SINGLES[byte] ?? Uint8Array.of(byte);
}

/** So many hexadecimal digits, in upper or lower case. */
function hexAt(text: Buffer, at: number, digits: number): number | undefined {
  let value = 0;
  for (let index = at; index < at + digits; index++) {
    const digit = hexDigit(text[index] ?? 0);
    if (digit === undefined) return undefined;
    value = value * 16 + digit;
  }
  return value;
}

function hexDigit(code: number): number | undefined {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : undefined;
}
