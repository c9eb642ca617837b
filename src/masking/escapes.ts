import type { Range } from './pieces.ts';

/* Texts as they were before somebody escaped them, as in JSON, a URL, a form or a page. Pure. */

/** A text without its escapes, and where each part of it stood. */
export type View = {
  readonly bytes: Uint8Array;
  readonly sourceOf: (range: Range) => Range;
};

/** Which escapes are taken out. */
type Kinds = {
  /** JSON (RFC 8259 section 7), JavaScript and Python. */
  readonly backslash: boolean;
  /** RFC 3986 section 2.1. */
  readonly percent: boolean;
  /** HTML and XML. */
  readonly entity: boolean;
  /** A plus is a space (URL standard, application/x-www-form-urlencoded). */
  readonly plus: boolean;
};

const SIMPLE: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
/** The longest is `&#x10ffff;`, but for zeros in front. */
const LONGEST_ENTITY = 12;

const BACKSLASH = 0x5c;
const PERCENT = 0x25;
const AMPERSAND = 0x26;
const PLUS = 0x2b;

/** Undefined where there is nothing to take out. */
export function withoutEscapes(text: Uint8Array, { isForm }: { readonly isForm: boolean }): View | undefined {
  return unescaped(text, { backslash: true, percent: true, entity: true, plus: isForm });
}

/**
 * A text, and what a reader may make of it who takes for escapes what looks like some of them: so it is found behind
 * other escapes too, whose reader does the same.
 */
export function decodings(text: string): string[] {
  const bytes = Buffer.from(text);
  const texts = new Set([text]);
  for (let kinds = 1; kinds < 16; kinds++) {
    const view = unescaped(bytes, {
      backslash: (kinds & 1) > 0,
      percent: (kinds & 2) > 0,
      entity: (kinds & 4) > 0,
      plus: (kinds & 8) > 0,
    });
    if (view !== undefined) texts.add(Buffer.from(view.bytes).toString('utf8'));
  }
  return [...texts];
}

function unescaped(text: Uint8Array, kinds: Kinds): View | undefined {
  const source = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
  if (!mayHaveEscapes(source, kinds)) return undefined;
  const bytes = Buffer.allocUnsafe(source.length);
  /** By byte of the result, where the escape that it comes from begins; and at the end, where the source ends. */
  const starts = new Uint32Array(source.length + 1);
  let length = 0;
  let hasEscapes = false;
  for (let at = 0; at < source.length;) {
    const escape = escapeAt(source, at, kinds);
    starts[length] = at;
    if (escape === undefined) {
      bytes[length++] = source[at++] ?? 0;
      continue;
    }
    hasEscapes = true;
    // No escape is shorter than what it stands for.
    for (const byte of escape.bytes) {
      starts[length] = at;
      bytes[length++] = byte;
    }
    at += escape.length;
  }
  if (!hasEscapes) return undefined;
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

function mayHaveEscapes(text: Buffer, { backslash, percent, entity, plus }: Kinds): boolean {
  return (
    (backslash && text.includes(BACKSLASH)) ||
    (percent && text.includes(PERCENT)) ||
    (entity && text.includes(AMPERSAND)) ||
    (plus && text.includes(PLUS))
  );
}

type Escape = { readonly bytes: Uint8Array; readonly length: number };

function escapeAt(text: Buffer, at: number, kinds: Kinds): Escape | undefined {
  switch (text[at]) {
    case BACKSLASH:
      return kinds.backslash ? backslashAt(text, at) : undefined;
    case PERCENT: {
      const byte = kinds.percent ? hexAt(text, at + 1, 2) : undefined;
      return byte === undefined ? undefined : { bytes: Uint8Array.of(byte), length: 3 };
    }
    case AMPERSAND:
      return kinds.entity ? entityAt(text, at) : undefined;
    case PLUS:
      return kinds.plus ? { bytes: Uint8Array.of(0x20), length: 1 } : undefined;
    default:
      return undefined;
  }
}

function backslashAt(text: Buffer, at: number): Escape | undefined {
  const kind = String.fromCharCode(text[at + 1] ?? 0);
  if (kind === 'x') {
    const byte = hexAt(text, at + 2, 2);
    return byte === undefined ? undefined : { bytes: Uint8Array.of(byte), length: 4 };
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
  return { bytes: Buffer.from(SIMPLE[kind] ?? kind), length: 2 };
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
