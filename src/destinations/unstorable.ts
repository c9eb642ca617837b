import { editTexts } from '../otlp/edit-texts.ts';
import type { Work } from '../otlp/edit-spans.ts';
import type { Mending, Unstorable } from './destination.ts';

/* Takes out what an upstream cannot store. Pure; texts are bytes in UTF-8. */

/** In a text. */
export type BadText = Exclude<Unstorable, 'bytes'>;

const REPLACEMENT = Buffer.from('\ufffd');
/** In JSON, as long as what it stands in place of. */
const ESCAPED_REPLACEMENT = Buffer.from(String.raw`\ufffd`);

const BACKSLASH = 0x5c;
const SMALL_U = 0x75;
const QUOTE = 0x22;
const OPENING: ReadonlySet<number> = new Set([QUOTE, 0x5b, 0x7b]);
const SPACES: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);

const WORDS: Readonly<Record<Unstorable, string>> = {
  NUL: 'U+FFFD in place of NUL',
  surrogates: 'U+FFFD in place of half of a surrogate pair',
  bytes: 'base64 in place of bytes',
};

type WithoutUnstorable = {
  readonly payload: Uint8Array;
  /** What was done to a span or around it, for people, by its position in wire order. */
  readonly words: ReadonlyMap<number, readonly string[]>;
  /** See `Repair.shared`. */
  readonly shared: ReadonlyMap<number, string>;
};

/** An ExportTraceServiceRequest without what `mending` names; the same bytes where there is none. */
export function withoutUnstorable(payload: Uint8Array, work: Work, mending: Mending): WithoutUnstorable {
  let bytes = payload;
  const words = new Map<number, string[]>();
  const shared = new Map<number, string>();
  for (const what of mending.unstorable) {
    const edited =
      what === 'bytes'
        ? editTexts(bytes, { bytes: toBase64 }, work, { aroundOnly: true })
        : editTexts(bytes, { text: (text) => withoutIn(text, what) }, work, mending);
    if (edited === undefined) continue;
    bytes = edited.payload;
    for (const [span, { fields, shared: digest }] of edited.spans) {
      const before = words.get(span) ?? [];
      words.set(span, [...before, `${WORDS[what]}: ${fields.join(', ')}`]);
      const isShared = digest !== undefined && (before.length === 0 || shared.has(span));
      if (isShared) shared.set(span, `${shared.get(span) ?? ''}${digest}`);
      else shared.delete(span);
    }
  }
  return { payload: bytes, words, shared };
}

/** As OTLP/JSON has bytes. */
function toBase64(value: Uint8Array): Uint8Array {
  return Buffer.from(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64'));
}

/**
 * The text with U+FFFD in place of each NUL, or of each half of a surrogate pair; undefined where there is none.
 * In a text that may be JSON these are looked for as the escapes \u0000 and \ud83d too, where an escape begins: behind
 * an escaped backslash the same letters are a text about it. All other bytes stay. A half pair has no UTF-8 of its own.
 */
export function withoutIn(text: Uint8Array, bad: BadText): Uint8Array | undefined {
  const isRaw = bad === 'NUL' && text.includes(0);
  const without = isRaw ? withoutRawNul(text) : text;
  const unescaped = mayBeJson(without) ? withoutEscapes(without, bad) : undefined;
  return unescaped ?? (isRaw ? without : undefined);
}

function withoutRawNul(text: Uint8Array): Uint8Array {
  let count = 0;
  for (const byte of text) if (byte === 0) count++;
  const copy = new Uint8Array(text.length + count * (REPLACEMENT.length - 1));
  let to = 0;
  for (const byte of text) {
    if (byte === 0) {
      copy.set(REPLACEMENT, to);
      to += REPLACEMENT.length;
    } else copy[to++] = byte;
  }
  return copy;
}

/** By its first letter: whoever reads it as JSON finds an object, a list, or a text. */
function mayBeJson(text: Uint8Array): boolean {
  let at = 0;
  while (SPACES.has(text[at]!)) at++;
  return OPENING.has(text[at]!);
}

function withoutEscapes(text: Uint8Array, bad: BadText): Uint8Array | undefined {
  let copy: Uint8Array | undefined;
  let at = nextBackslash(text, 0);
  while (at !== -1) {
    const unit = unitAt(text, at);
    const isPair = isHigh(unit) && isLow(unitAt(text, at + 6));
    const isBad = bad === 'NUL' ? unit === 0 : !isPair && (isHigh(unit) || isLow(unit));
    if (isBad) (copy ??= Uint8Array.from(text)).set(ESCAPED_REPLACEMENT, at);
    // Of what no escape is the letter behind the backslash belongs to it.
    at = nextBackslash(text, at + (unit === -1 ? 2 : isPair ? 12 : 6));
  }
  return copy;
}

/** In JSON that is made by a program backslashes come close together: there a look at the next letter is faster. */
function nextBackslash(text: Uint8Array, from: number): number {
  return text[from] === BACKSLASH ? from : text.indexOf(BACKSLASH, from);
}

/** The UTF-16 unit of an escape such as \ud83d; -1 where there is none. */
function unitAt(text: Uint8Array, at: number): number {
  if (text[at] !== BACKSLASH || text[at + 1] !== SMALL_U || at + 6 > text.length) return -1;
  let unit = 0;
  for (let digit = at + 2; digit < at + 6; digit++) {
    const value = hexValue(text[digit]!);
    if (value === -1) return -1;
    unit = unit * 16 + value;
  }
  return unit;
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1;
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}
