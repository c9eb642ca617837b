/** Longer numbers are out of every range. */
const MAX_DIGITS = 64;

/**
 * The whole number that a decimal stands for (`42`, `-7`, `1.5e3`): a number where that is exact, else a bigint;
 * undefined for a fraction, and for what is no decimal or absurdly long.
 */
export function exactInteger(text: string): number | bigint | undefined {
  if (/^-?\d{1,15}$/.test(text)) return Number(text);
  if (text.length > MAX_DIGITS) return undefined;
  const parts = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?$/.exec(text);
  if (parts === null) return undefined;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = parts;
  const zeros = Number(exponent) - fraction.length;
  let digits = whole + fraction;
  if (zeros >= 0) {
    if (digits.length + zeros > MAX_DIGITS) return undefined;
    digits += '0'.repeat(zeros);
  } else {
    if (!/^0*$/.test(digits.slice(zeros))) return undefined;
    digits = digits.slice(0, zeros) || '0';
  }
  const value = BigInt(sign + digits);
  const short = Number(value);
  return Number.isSafeInteger(short) ? short : value;
}
