export const MINUS = 0x2d;
const PLUS = 0x2b;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const SMALL_E = 0x65;
const LARGE_E = 0x45;

/** Where the number ends that begins at `start` (RFC 8259, 6); -1 where it is none. Makes no text of it. */
export function numberEnd(bytes: Uint8Array, start: number): number {
  let pos = bytes[start] === MINUS ? start + 1 : start;
  pos = bytes[pos] === ZERO ? pos + 1 : digitsEnd(bytes, pos);
  if (pos !== -1 && bytes[pos] === POINT) pos = digitsEnd(bytes, pos + 1);
  if (pos !== -1 && (bytes[pos] === SMALL_E || bytes[pos] === LARGE_E)) {
    const sign = bytes[pos + 1];
    pos = digitsEnd(bytes, sign === PLUS || sign === MINUS ? pos + 2 : pos + 1);
  }
  return pos !== -1 && pos < bytes.length && isInNumber(bytes[pos]!) ? -1 : pos;
}

export function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

/** At least one digit; -1 where there is none. */
function digitsEnd(bytes: Uint8Array, start: number): number {
  let pos = start;
  while (pos < bytes.length && isDigit(bytes[pos]!)) pos++;
  return pos > start ? pos : -1;
}

/** Digits, sign, point, exponent. */
function isInNumber(byte: number): boolean {
  return (
    isDigit(byte) || byte === POINT || byte === MINUS || byte === PLUS || byte === SMALL_E || byte === LARGE_E
  );
}
