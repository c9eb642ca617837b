import { IncomingMessage } from 'node:http';
import { beginTurn } from '../turn-of-reads.ts';
import { hasTime, spend, waitForTurn } from './turn.ts';

/**
 * What it costs to read a chunk, and each byte of it, about, in milliseconds. Clients can send ten thousand chunks of
 * one byte in what is read at once; and of each connection that has much to read, two MiB are read at once.
 */
const CHUNK_MS = 0.002;
const BYTE_MS = 1e-6;

/** Lets a request be read only while the turn of the event loop has time for it, and then goes on in a later one. */
export class Throttle {
  readonly #request: IncomingMessage;
  readonly #sender: string;
  #isSocketPaused = false;
  #isOver = false;
  isWaiting = false;

  constructor(request: IncomingMessage, sender: string) {
    this.#request = request;
    this.#sender = sender;
  }

  /** To be called for each chunk. */
  count(bytes: number): void {
    beginTurn();
    spend(this.#sender, CHUNK_MS + bytes * BYTE_MS);
    if (this.isWaiting) return;
    if (!hasTime(this.#sender)) this.#wait();
    else if (this.#request.readableLength === 0) this.#resumeSocket();
  }

  /** The request is for others to read. */
  end(): void {
    this.#isOver = true;
    this.#resumeSocket();
  }

  #wait(): void {
    const request = this.#request;
    this.isWaiting = true;
    request.pause();
    this.#isSocketPaused = true;
    request.socket.pause();
    // Else Node reads on until 64 KiB are there, for which it keeps as many chunks as there come.
    // oxlint-disable-next-line no-underscore-dangle -- Node's name for it
    request._read = () => {};
    waitForTurn(this.#sender, () => {
      this.isWaiting = false;
      if (this.#isOver) return;
      if (request.readableLength === 0) this.#resumeSocket();
      request.resume();
    });
  }

  #resumeSocket(): void {
    if (!this.#isSocketPaused) return;
    this.#isSocketPaused = false;
    // oxlint-disable-next-line no-underscore-dangle -- Node's name for it
    this.#request._read = IncomingMessage.prototype._read;
    this.#request.socket.resume();
  }
}
