import type { RequestSize } from './batch-sizing.ts';

/** A batch that failed and went in two halves. Where both are taken, nothing in it is to blame but its size. */
export class Halving {
  readonly size: RequestSize;
  #left = 2;

  constructor(size: RequestSize) {
    this.size = size;
  }

  /** One of the halves was taken. @returns whether both are */
  taken(): boolean {
    return --this.#left === 0;
  }
}
