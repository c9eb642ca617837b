import { startPeer } from './peer.ts';

export type AskedJson = {
  /** A body in OTLP/JSON. */
  readonly text: string;
  /** What the relay makes of it. */
  readonly payload: Uint8Array;
  /** What the relay makes of that, as text again. */
  readonly back: string;
};

export type JsonVerdict = {
  /** Google reads the text as the message that is in the payload. */
  readonly isSame: boolean;
  /** So it does with what the relay has made of the payload. */
  readonly isSameBack: boolean;
  /** Why Google did not read one of them; empty: it did. */
  readonly error: string;
  /** The message of the payload in OTLP/JSON, by Google. */
  readonly written: string;
};

export type GoogleJson = {
  /** In the order of what is asked. */
  ask(asked: readonly AskedJson[]): Promise<JsonVerdict[]>;
  close(): Promise<void>;
};

/** @param python an interpreter with protobuf and opentelemetry-proto */
export function startGoogleJson(python: string): GoogleJson {
  const { exchange, close } = startPeer(python, 'google_json_peer.py');
  return { ask: async (asked) => verdictsIn(await exchange(batchOf(asked)), asked.length), close };
}

function batchOf(asked: readonly AskedJson[]): Buffer {
  const parts = asked.flatMap(({ text, payload, back }) => [Buffer.from(text), payload, Buffer.from(back)]);
  return Buffer.concat(
    parts.flatMap((bytes) => {
      const length = Buffer.allocUnsafe(4);
      length.writeUInt32LE(bytes.length);
      return [length, bytes];
    }),
  );
}

function verdictsIn(answer: Buffer, count: number): JsonVerdict[] {
  let at = 0;
  const flag = () => answer.readUInt8(at++) === 1;
  const text = () => {
    const start = at + 4;
    at = start + answer.readUInt32LE(at);
    return answer.toString('utf8', start, at);
  };
  return Array.from({ length: count }, () => ({
    isSame: flag(),
    isSameBack: flag(),
    error: text(),
    written: text(),
  }));
}
