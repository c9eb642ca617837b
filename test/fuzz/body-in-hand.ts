/** Bodies are far smaller; of a larger one the beginning is there. */
const MOST_BYTES = 1024 * 1024;

const INDEX = 0;
const LENGTH = 1;
const SINCE = 2;
const HEADER_BYTES = 3 * Float64Array.BYTES_PER_ELEMENT;

export type BodyInHand = {
  begin(index: number, body: Uint8Array): void;
  end(): void;
  /** The body that is being worked on, and for how long, in ms; undefined between two of them. */
  look(): { index: number; body: Uint8Array; ms: number } | undefined;
};

export function createSharedBody(): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER_BYTES + MOST_BYTES);
}

/** What one thread works on, for another one to see. */
export function openBodyInHand(shared: SharedArrayBuffer): BodyInHand {
  const numbers = new Float64Array(shared, 0, 3);
  const bytes = new Uint8Array(shared, HEADER_BYTES);
  return {
    begin(index, body) {
      const part = body.subarray(0, MOST_BYTES);
      bytes.set(part);
      numbers[INDEX] = index;
      numbers[LENGTH] = part.length;
      numbers[SINCE] = Date.now();
    },
    end() {
      numbers[SINCE] = 0;
    },
    look() {
      const since = numbers[SINCE]!;
      if (since === 0) return undefined;
      const body = Uint8Array.from(bytes.subarray(0, numbers[LENGTH]));
      return { index: numbers[INDEX]!, body, ms: Date.now() - since };
    },
  };
}
