import type { IncomingMessage } from 'node:http';
import type { Hold } from './body-room.ts';
import { Throttle } from './throttle.ts';

/** A body as it came: blocks that follow each other and are nobody else's. */
export type Body = { readonly blocks: readonly Buffer<ArrayBuffer>[]; readonly length: number };

export type CollectResult =
  | ({ ok: true } & Body)
  /**
   * `aborted`: the client is gone. `busy`: there is no room for it. `evicted`: others needed its room. `slow`: only so
   * many bytes of it came in the time of `leastPace`. But for `aborted`, the rest of the request is unread and its
   * stream paused.
   */
  | { ok: false; why: 'aborted' }
  | { ok: false; why: 'too_large' | 'busy' | 'evicted' }
  | { ok: false; why: 'slow'; bytes: number; leastPace: LeastPace };

/** The least that has to come of a body, in bytes, in each such time, in milliseconds. */
export type LeastPace = { readonly bytes: number; readonly everyMs: number };

/**
 * 64 kbit/s, slower than any line that carries traces. Ten seconds are what TCP needs to get over some lost packets, and
 * what a body has to begin with.
 */
const LEAST_PACE: LeastPace = { bytes: 80_000, everyMs: 10_000 };

/** The first block of a body that does not say how long it is, and so the least that it takes. */
export const FIRST_BLOCK = 64 * 1024;
/** A body that is no larger, as it says, stands in one block from the start: a usual request. */
const USUAL_BODY = 128 * 1024;
/** A block has as many bytes as all before it, up to this. */
const LARGEST_BLOCK = 1024 * 1024;

/** Reads a body of at most `maxSize` bytes to its end. */
export function collectBody(
  request: IncomingMessage,
  maxSize: number,
  hold: Hold,
  leastPace: LeastPace = LEAST_PACE,
): Promise<CollectResult> {
  return new Promise((resolve) => {
    const body = new BodyBuffer(declaredLength(request));
    const throttle = new Throttle(request, hold.sender);
    let sinceCheck = 0;
    let timer: NodeJS.Timeout | undefined;

    function checkPace(): void {
      // Who waits for the relay is not slow.
      const bytes = sinceCheck;
      sinceCheck = 0;
      if (bytes >= leastPace.bytes || throttle.isWaiting) return;
      stop({ ok: false, why: 'slow', bytes, leastPace });
    }
    function finish(result: CollectResult): void {
      throttle.end();
      clearInterval(timer);
      hold.mayStay();
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      resolve(result);
    }
    function stop(result: CollectResult): void {
      request.pause();
      body.free();
      finish(result);
    }
    function onData(chunk: Buffer): void {
      sinceCheck += chunk.length;
      if (body.length + chunk.length > maxSize) {
        stop({ ok: false, why: 'too_large' });
      } else if (!body.append(chunk, hold)) {
        stop({ ok: false, why: 'busy' });
      } else {
        hold.cameIn(chunk.length);
        // What has come whole, or not at all, needs no watch: it holds nothing for long.
        if (!body.isWhole) timer ??= setInterval(checkPace, leastPace.everyMs).unref();
        throttle.count(chunk.length);
      }
    }
    function onEnd(): void {
      finish({ ok: true, ...body.finish() });
    }
    function onClose(): void {
      body.free();
      finish({ ok: false, why: 'aborted' });
    }
    hold.mayBeEvicted('arriving', () => stop({ ok: false, why: 'evicted' }));
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

/** Undefined: it comes in chunks, or without a length that can be told. */
function declaredLength(request: IncomingMessage): number | undefined {
  const length = request.headers['content-length'];
  return length === undefined ? undefined : Number(length);
}

/**
 * Chunks, joined as they come: what a chunk costs in memory beside its bytes, and the larger buffer that it is a slice
 * of, last no longer than the chunk. What it holds is what came, and less than as much again, or 64 KiB; or,
 * once that much came of it, the whole of a body of up to a MiB.
 */
class BodyBuffer {
  length = 0;
  readonly #declared: number | undefined;
  readonly #blocks: Buffer<ArrayBuffer>[] = [];
  /** Bytes that are written in the last block. */
  #used = 0;

  constructor(declared: number | undefined) {
    this.#declared = declared;
  }

  get isWhole(): boolean {
    return this.length === this.#declared;
  }

  /** False: there is no room. */
  append(chunk: Buffer, hold: Hold): boolean {
    for (let at = 0; at < chunk.length;) {
      let last = this.#blocks.at(-1);
      if (last === undefined || this.#used === last.length) {
        last = this.#nextBlock(chunk.length - at, hold);
        if (last === undefined) return false;
      }
      const copied = chunk.copy(last, this.#used, at);
      at += copied;
      this.#used += copied;
      this.length += copied;
    }
    return true;
  }

  #nextBlock(chunk: number, hold: Hold): Buffer<ArrayBuffer> | undefined {
    const declared = this.#declared ?? Number.POSITIVE_INFINITY;
    if (this.#blocks.length === 1 && declared <= LARGEST_BLOCK) return this.#wholeBlock(declared, hold);
    const first = declared <= USUAL_BODY ? declared : FIRST_BLOCK;
    const usual = Math.min(Math.max(this.length, first), LARGEST_BLOCK);
    const size =
      this.#declared === undefined ? Math.max(usual, chunk) : Math.min(usual, declared - this.length);
    if (!hold.take(size)) return undefined;
    const block = Buffer.allocUnsafeSlow(size);
    this.#blocks.push(block);
    this.#used = 0;
    return block;
  }

  /** A body that is not large and begun in earnest stands in one block, so that nobody has to join it. */
  #wholeBlock(declared: number, hold: Hold): Buffer<ArrayBuffer> | undefined {
    const first = this.#blocks[0]!;
    const { length } = first;
    if (!hold.take(declared - length)) return undefined;
    const whole = Buffer.allocUnsafeSlow(declared);
    whole.set(first);
    this.free();
    this.#blocks.push(whole);
    this.#used = length;
    return whole;
  }

  finish(): Body {
    const last = this.#blocks.pop();
    if (last !== undefined) this.#blocks.push(last.subarray(0, this.#used));
    return { blocks: this.#blocks, length: this.length };
  }

  /** At once, not when the garbage collector comes by: its room is given to others at once, too. */
  free(): void {
    for (const block of this.#blocks.splice(0)) block.buffer.transfer(0);
  }
}
