import type { Inspected } from './inspect.ts';
import { startPeer } from './peer.ts';

/*
 * Google's runtime by its Python package: it is the one that MLflow parses with, upb beneath it is also that of Ruby and
 * PHP, and parses like C++. Google's package for JavaScript is kept alive without new work, needs code that protoc makes,
 * and does not look at UTF-8, nor at how deep groups are.
 */

export type SpanFacts = { readonly traceId: string; readonly isRoot: boolean; readonly isValid: boolean };

export type GoogleFacts =
  | { readonly accepted: false }
  | {
      readonly accepted: true;
      /** Of a body that the relay takes as well. */
      readonly details?: {
        readonly spans: readonly SpanFacts[];
        readonly cuts: readonly Comparison[];
        readonly json: Comparison;
      };
    };

export type Comparison = 'equal' | 'different' | 'not decodable';

export type Google = {
  /** In the order of the bodies. */
  ask(bodies: readonly Asked[]): Promise<GoogleFacts[]>;
  close(): Promise<void>;
};

/** Without `inspected`, only whether it is taken is asked. */
export type Asked = { readonly body: Uint8Array; readonly inspected?: Inspected };

const COMPARISONS: readonly Comparison[] = ['different', 'equal', 'not decodable'];
const NO_PARENT = 1;
const GOOD_IDS = 2;

/** @param python an interpreter with protobuf and opentelemetry-proto */
export function startGoogle(python: string): Google {
  const { exchange, close } = startPeer(python, 'google_peer.py');
  return { ask: async (bodies) => factsIn(await exchange(batchOf(bodies)), bodies), close };
}

function batchOf(bodies: readonly Asked[]): Buffer {
  const parts: Uint8Array[] = [];
  const number = (value: number) => {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32LE(value);
    parts.push(bytes);
  };
  const withLength = (bytes: Uint8Array) => {
    number(bytes.length);
    parts.push(bytes);
  };
  for (const { body, inspected } of bodies) {
    withLength(body);
    if (inspected?.accepted !== true) {
      number(0);
      continue;
    }
    number(1);
    number(inspected.spanCount);
    number(inspected.cuts.length);
    for (const { kept, bytes } of inspected.cuts) {
      parts.push(kept);
      withLength(bytes);
    }
    withLength(inspected.fromJson);
  }
  return Buffer.concat(parts);
}

function factsIn(answer: Buffer, bodies: readonly Asked[]): GoogleFacts[] {
  let at = 0;
  const byte = () => answer.readUInt8(at++);
  const number = () => answer.readUInt32LE((at += 4) - 4);
  const facts = bodies.map(({ inspected }): GoogleFacts => {
    if (byte() === 0) return { accepted: false };
    if (inspected?.accepted !== true) return { accepted: true };
    const spans = Array.from({ length: number() }, (): SpanFacts => {
      const flags = byte();
      const length = number();
      const traceId = answer.toString('hex', at, (at += length));
      return { traceId, isRoot: (flags & NO_PARENT) !== 0, isValid: (flags & GOOD_IDS) !== 0 };
    });
    const cuts = inspected.cuts.map(() => COMPARISONS[byte()]!);
    return { accepted: true, details: { spans, cuts, json: COMPARISONS[byte()]! } };
  });
  if (at !== answer.length)
    throw new Error("the answer of Google's runtime is not of the form that was agreed");
  return facts;
}
