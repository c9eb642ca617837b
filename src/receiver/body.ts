import { IncomingMessage } from 'node:http';
import type { Hold } from './body-room.ts';
import { hasTime, spend, waitForTurn } from './turn.ts';

/** A body as it came: blocks that follow each other and are nobody else's. */
export type Body = { readonly blocks: readonly Buffer<ArrayBuffer>[]; readonly length: number };

export type CollectResult =
  | ({ ok: true } & Body)
  /**
   * `aborted`: the client is gone. `busy`: there is no room for it. `evicted`: others needed its room. `slow`: too
   * little of it came for too long. But for `aborted`, the rest of the request is unread and its stream paused.
   */
  | { ok: false; why: 'aborted' | 'too_large' | 'busy' | 'evicted' | 'slow' };

/** The least that has to come of a body, in bytes, in each such time, in milliseconds. */
export type LeastPace = { readonly bytes: number; readonly everyMs: number };

/**
 * 64 kbit/s, slower than any line that carries traces. Ten seconds are what TCP needs to get over some lost packets, and
 * what a body has to begin with.
 */
export const LEAST_PACE: LeastPace = { bytes: 80_000, everyMs: 10_000 };

/** The first block, and so about the least that a body takes. */
const FIRST_BLOCK = 64 * 1024;
/** A block has as many bytes as all before it, up to this. */
const LARGEST_BLOCK = 1024 * 1024;

/**
 * What it costs to read a chunk, and each byte of it, about, in milliseconds. Clients can send ten thousand chunks of
 * one byte in what is read at once; and of each connection that has much to read, two MiB are read at once.
 */
const CHUNK_MS = 0.002;
const BYTE_MS = 1e-6;

/** Reads a body of at most `maxSize` bytes to its end. */
export function collectBody(
  request: IncomingMessage,
  maxSize: number,
  hold: Hold,
  leastPace: LeastPace = LEAST_PACE,
): Promise<CollectResult> {
  return new Promise((resolve) => {
    const body = new BodyBuffer(declaredLength(request));
    let sinceCheck = 0;
    let isDone = false;
    let isWaiting = false;
    let isSocketPaused = false;
    const timer = setInterval(() => {
      // Who waits for the relay is not slow.
      if (sinceCheck < leastPace.bytes && !isWaiting) stop('slow');
      sinceCheck = 0;
    }, leastPace.everyMs);
    timer.unref();

    function finish(result: CollectResult): void {
      isDone = true;
      resumeSocket();
      clearInterval(timer);
      hold.mayStay();
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      resolve(result);
    }
    function stop(why: 'too_large' | 'busy' | 'evicted' | 'slow'): void {
      request.pause();
      body.free();
      finish({ ok: false, why });
    }
    function onData(chunk: Buffer): void {
      sinceCheck += chunk.length;
      if (body.length + chunk.length > maxSize) {
        stop('too_large');
      } else if (!body.append(chunk, hold)) {
        stop('busy');
      } else {
        hold.cameIn(chunk.length);
        spend(hold.sender, CHUNK_MS + chunk.length * BYTE_MS);
        if (isWaiting) return;
        if (!hasTime(hold.sender)) waitATurn();
        else if (request.readableLength === 0) resumeSocket();
      }
    }
    function waitATurn(): void {
      isWaiting = true;
      request.pause();
      isSocketPaused = true;
      request.socket.pause();
      // Else Node reads on until 64 KiB are there, for which it keeps as many chunks as there come.
      // oxlint-disable-next-line no-underscore-dangle -- Node's name for it
      request._read = () => {};
      waitForTurn(hold.sender, () => {
        isWaiting = false;
        if (isDone) return;
        if (request.readableLength === 0) resumeSocket();
        request.resume();
      });
    }
    function resumeSocket(): void {
      if (!isSocketPaused) return;
      isSocketPaused = false;
      // oxlint-disable-next-line no-underscore-dangle -- Node's name for it
      request._read = IncomingMessage.prototype._read;
      request.socket.resume();
    }
    function onEnd(): void {
      finish({ ok: true, ...body.finish() });
    }
    function onClose(): void {
      body.free();
      finish({ ok: false, why: 'aborted' });
    }
    hold.mayBeEvicted('arriving', () => stop('evicted'));
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
 * of, last no longer than the chunk. What it holds is what came, and less than as much again, or 64 KiB.
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

  /** False: there is no room. */
  append(chunk: Buffer, hold: Hold): boolean {
    for (let at = 0; at < chunk.length;) {
      let last = this.#blocks.at(-1);
      if (last === undefined || this.#used === last.length) {
        const size = this.#nextSize(chunk.length - at);
        if (!hold.take(size)) return false;
        last = Buffer.allocUnsafeSlow(size);
        this.#blocks.push(last);
        this.#used = 0;
      }
      const copied = chunk.copy(last, this.#used, at);
      at += copied;
      this.#used += copied;
      this.length += copied;
    }
    return true;
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

  #nextSize(chunk: number): number {
    const usual = Math.min(Math.max(this.length, FIRST_BLOCK), LARGEST_BLOCK);
    // A body whose length is known is in one piece, if it is small.
    if (this.#declared !== undefined) return Math.max(Math.min(usual, this.#declared - this.length), 1);
    return Math.max(usual, chunk);
  }
}
