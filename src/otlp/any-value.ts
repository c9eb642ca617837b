import { AnyValue } from './schema.ts';

/** A value of an attribute; null where none is set. */
export type PlainValue =
  | null
  | string
  | number
  | boolean
  | Uint8Array
  | readonly PlainValue[]
  | { readonly [key: string]: PlainValue };

/** Any of the fields, as protobufjs has them. */
type Decoded = {
  readonly value?: keyof Decoded;
  readonly stringValue?: string;
  readonly boolValue?: boolean;
  readonly intValue?: number | { toNumber(): number };
  readonly doubleValue?: number;
  readonly bytesValue?: Uint8Array;
  readonly arrayValue?: { readonly values: readonly Decoded[] };
  readonly kvlistValue?: { readonly values: readonly { readonly key: string; readonly value?: Decoded }[] };
};

/** The bytes of an AnyValue that `scanTraces` has passed. Integers beyond 2^53 lose their last digits. */
export function readAnyValue(bytes: Uint8Array): PlainValue {
  return toPlain(AnyValue.decode(bytes) as Decoded);
}

function toPlain(decoded: Decoded | null | undefined): PlainValue {
  switch (decoded?.value) {
    case 'arrayValue':
      return (decoded.arrayValue?.values ?? []).map(toPlain);
    case 'kvlistValue':
      return Object.fromEntries(
        (decoded.kvlistValue?.values ?? []).map(({ key, value }) => [key, toPlain(value)]),
      );
    case 'intValue':
      return Number(decoded.intValue);
    case 'stringValue':
    case 'boolValue':
    case 'doubleValue':
    case 'bytesValue':
      return decoded[decoded.value] ?? null;
    default:
      return null;
  }
}
