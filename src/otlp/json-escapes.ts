/** What stands behind a backslash, and what it means. */
export const ESCAPES: ReadonlyMap<number, number> = new Map(
  Object.entries({ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }).map(
    ([written, meant]) => [written.charCodeAt(0), meant.charCodeAt(0)],
  ),
);
/** `u`, which four hexadecimal digits of a UTF-16 code unit follow. */
export const UNICODE_ESCAPE = 0x75;

export function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

export function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/** Stands in UTF-8 for half a surrogate pair, which has none: a byte that no text has, and one that is replaced by one U+FFFD. */
export const BROKEN_TEXT = 0xff;
