/** Builds protobuf bytes by hand, good and bad ones. */
export function varint(value: number | bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

export function join(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part))),
  );
}

export function tag(fieldNumber: number, wireType: number): Uint8Array {
  return varint((BigInt(fieldNumber) << 3n) | BigInt(wireType));
}

/** A length-delimited field. */
export function len(fieldNumber: number, ...content: readonly (Uint8Array | string)[]): Uint8Array {
  const bytes = join(...content);
  return join(tag(fieldNumber, 2), varint(bytes.length), bytes);
}

export function group(fieldNumber: number, ...content: readonly Uint8Array[]): Uint8Array {
  return join(tag(fieldNumber, 3), ...content, tag(fieldNumber, 4));
}

/** The innermost value wrapped `times` over. */
export function nest(
  times: number,
  innermost: Uint8Array,
  wrap: (inner: Uint8Array) => Uint8Array,
): Uint8Array {
  let bytes = innermost;
  for (let i = 0; i < times; i++) bytes = wrap(bytes);
  return bytes;
}

export const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

export const TRACE_ID = '0102030405060708090a0b0c0d0e0f10';
export const SPAN_ID = '1112131415161718';

/** Ids that are good, as fields of a span. */
export const GOOD_IDS = join(len(1, hex(TRACE_ID)), len(2, hex(SPAN_ID)));

/** A request with one ResourceSpans, one ScopeSpans and these spans. */
export function requestOf(...spans: readonly Uint8Array[]): Uint8Array {
  return len(1, len(2, ...spans.map((span) => len(2, span))));
}

/** A request with one good span that has this attribute value. */
export function requestWithValue(value: Uint8Array): Uint8Array {
  return requestOf(join(GOOD_IDS, len(9, len(1, 'k'), len(2, value))));
}
