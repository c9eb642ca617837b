import { isUtf8 } from 'node:buffer';
import type { ProtobufWriter } from './protobuf-writer.ts';

/** Strings up to this many bytes are looked at in a loop; beyond it the call into native code is cheaper. */
const SHORT_TEXT = 64;

/** U+FFFD. */
const REPLACEMENT = 0xfffd;

export function isText(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start <= SHORT_TEXT) {
    let all = 0;
    for (let pos = start; pos < end; pos++) all |= bytes[pos]!;
    if (all < 0x80) return true;
  }
  return isUtf8(bytes.subarray(start, end));
}

/**
 * Writes text with one U+FFFD for each part of it that is broken: the longest beginning of a character, or one byte, as
 * the UTF-8 decoder of WHATWG's Encoding standard has it. Makes no string.
 */
export function writeMended(bytes: Uint8Array, start: number, end: number, writer: ProtobufWriter): void {
  let from = start;
  for (let pos = start; pos < end;) {
    if (bytes[pos]! < 0x80) {
      pos++;
      continue;
    }
    const expected = lengthOf(bytes[pos]!);
    const length = beginningAt(bytes, pos, end, expected);
    if (length < expected || expected === 0) {
      if (pos > from) writer.raw(bytes.subarray(from, pos));
      writer.codePoint(REPLACEMENT);
      from = pos + Math.max(1, length);
    }
    pos += Math.max(1, length);
  }
  if (end > from) writer.raw(bytes.subarray(from, end));
}

/** Bytes of the character that begins with this one, which is no ASCII; 0: none does. */
function lengthOf(lead: number): number {
  if (lead < 0xc2 || lead > 0xf4) return 0;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/** How many bytes from `at` on are those of one character of `expected` bytes. */
function beginningAt(bytes: Uint8Array, at: number, end: number, expected: number): number {
  if (expected === 0) return 0;
  const lead = bytes[at]!;
  // No second way to write a character, no surrogates, nothing beyond U+10FFFF.
  let lower = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  let upper = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  let length = 1;
  while (length < expected && at + length < end) {
    const byte = bytes[at + length]!;
    if (byte < lower || byte > upper) break;
    lower = 0x80;
    upper = 0xbf;
    length++;
  }
  return length;
}
