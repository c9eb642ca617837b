/* JSON of others, read in little memory. Pure. */

/** Bytes that are parsed at most. Experiments and tokens have thousands; objects take about twenty times their bytes. */
export const LARGEST_JSON = 1024 * 1024;

/** Levels of lists and objects that are parsed. Each costs up to a hundred times its byte, and no answer that is needed has ten. */
export const DEEPEST_JSON = 64;

export type JsonRead =
  | { readonly kind: 'value'; readonly value: unknown }
  /** It is not parsed; why, as in "its answer is …". */
  | { readonly kind: 'unread'; readonly problem: string }
  | { readonly kind: 'no JSON' };

/**
 * One JSON text (RFC 8259) in UTF-8, unless it is too large or nested too deeply.
 * @param isCut its end is missing: what is open there is closed, so that what was whole, and the beginning of a text, is read
 */
export function readBoundedJson(bytes: Uint8Array, { isCut = false } = {}): JsonRead {
  if (bytes.length > LARGEST_JSON) {
    return {
      kind: 'unread',
      problem: `JSON of ${bytes.length} bytes, more than the ${LARGEST_JSON} that are read`,
    };
  }
  const open = whatIsOpen(bytes, DEEPEST_JSON);
  if (open === undefined) {
    return { kind: 'unread', problem: `JSON that is nested more than ${DEEPEST_JSON} levels deep` };
  }
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = isCut ? buffer.toString('utf8', 0, open.end) + open.closing : buffer.toString('utf8');
  try {
    return { kind: 'value', value: JSON.parse(text) as unknown };
  } catch {
    return { kind: 'no JSON' };
  }
}

/** Whether JSON has more levels than this, told without parsing it. */
export function isNestedDeeper(bytes: Uint8Array, levels: number): boolean {
  return whatIsOpen(bytes, levels) === undefined;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const U = 0x75;
const CLOSING: Readonly<Record<number, string>> = { 0x5b: ']', 0x7b: '}' };

/**
 * What closes all that is open at the end of a JSON text, without the escape that is cut off there; undefined if it is
 * nested too deeply. Of what is no JSON it says anything.
 */
function whatIsOpen(
  bytes: Uint8Array,
  deepest: number,
): { readonly end: number; readonly closing: string } | undefined {
  const open: string[] = [];
  let isInText = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) isInText = !isInText;
    else if (isInText) {
      if (byte !== BACKSLASH) continue;
      const length = bytes[at + 1] === U ? 6 : 2;
      if (at + length > bytes.length) return { end: at, closing: closingOf(open, isInText) };
      at += length - 1;
    } else if (byte === 0x5b || byte === 0x7b) {
      if (open.length === deepest) return undefined;
      open.push(CLOSING[byte] ?? '');
    } else if (byte === 0x5d || byte === 0x7d) open.pop();
  }
  return { end: bytes.length, closing: closingOf(open, isInText) };
}

function closingOf(open: readonly string[], isInText: boolean): string {
  return (isInText ? '"' : '') + open.toReversed().join('');
}
